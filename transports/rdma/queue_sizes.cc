// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/queue_sizes.h"

#include <algorithm>

namespace godwit {
namespace {

uint8_t at_most(uint32_t count, uint8_t max) {
  return static_cast<uint8_t>(std::min<uint32_t>(count, max));
}

}  // namespace

Result<QueueSizes> queue_sizes(const DeviceLimits& limits) {
  const uint32_t completions_max = std::max(limits.completions_max, kRdmaMessagesInFlightMax);
  const uint32_t requests =
      std::min({kRdmaRequestsMax, limits.requests_max, completions_max - kRdmaMessagesInFlightMax});
  if (requests < kRdmaRequestsMin) {
    return fail(Errc::kRefused,
                "the device has queues of {} requests and {} completions, a lane needs {} and {}",
                limits.requests_max, limits.completions_max, kRdmaRequestsMin,
                kRdmaRequestsMin + kRdmaMessagesInFlightMax);
  }
  return QueueSizes{.requests = requests, .completions = requests + kRdmaMessagesInFlightMax};
}

ReadDepths read_depths(const DeviceLimits& limits) {
  return {.served = at_most(limits.reads_served_max, kRdmaReadsInFlightMax),
          .asked = at_most(limits.reads_asked_max, kRdmaReadsInFlightMax)};
}

ReadDepths read_depths(const DeviceLimits& limits, ReadDepths peer) {
  const ReadDepths own = read_depths(limits);
  return {.served = std::min(own.served, peer.asked), .asked = std::min(own.asked, peer.served)};
}

}  // namespace godwit
