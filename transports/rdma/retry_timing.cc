// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/retry_timing.h"

namespace godwit {
namespace {

// 7 is the most that fits, but to Soft-RoCE it means without end, as it does everywhere for a
// receiver that is not ready.
constexpr uint8_t kRetriesMax = 6;
// 16.8 ms. A busy host answers later than a network does: shorter tries would be in vain.
constexpr uint8_t kExponentMin = 12;
constexpr uint8_t kExponentMax = 31;

}  // namespace

RetryTiming retry_timing(Clock::duration peer_timeout) {
  const Clock::duration budget = peer_timeout / 2;
  RetryTiming timing{.timeout_exponent = kExponentMax, .retries = kRetriesMax};
  while (timing.timeout_exponent > kExponentMin && timing.all_tries() > budget)
    --timing.timeout_exponent;
  while (timing.retries > 1 && timing.all_tries() > budget) --timing.retries;
  return timing;
}

}  // namespace godwit
