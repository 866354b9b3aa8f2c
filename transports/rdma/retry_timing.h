// SPDX-License-Identifier: Apache-2.0
//
// How long a device goes on without an acknowledgement before it gives the peer up.
#pragma once

#include <cstdint>

#include "engine/base/time.h"

namespace godwit {

struct RetryTiming {
  uint8_t timeout_exponent;  // each try waits 4.096 us * 2^exponent (IB specification, 9.7.6.1.3)
  uint8_t retries;           // after the first try

  Clock::duration all_tries() const {
    return nanoseconds(int64_t{4096} << timeout_exponent) * (retries + 1);
  }
};

// An idle lane asks for a sign of life this often.
constexpr Clock::duration sign_of_life_interval(Clock::duration peer_timeout) {
  return peer_timeout / 3;
}
// And waits this long for it, whatever the device does: an idle lane knows that nothing stands
// before the request.
constexpr Clock::duration sign_of_life_max(Clock::duration peer_timeout) {
  return peer_timeout - sign_of_life_interval(peer_timeout);
}

// All tries together take at most half of the peer time-out: with the third that passes until an
// idle lane asks, a silent peer is lost within it. (A device may take up to four times as long for
// a try, by the specification; Soft-RoCE does not.)
RetryTiming retry_timing(Clock::duration peer_timeout);

}  // namespace godwit
