// SPDX-License-Identifier: Apache-2.0
//
// How deep the queues of a lane are: as deep as we want them, or as the device allows.
#pragma once

#include <cstdint>

#include "engine/base/result.h"

namespace godwit {

inline constexpr uint32_t kRdmaRequestsMax = 1024;
inline constexpr uint32_t kRdmaMessagesInFlightMax = 32;  // in each direction
// Requests kept free of operations, for messages, flushes and signs of life.
inline constexpr uint32_t kRdmaRequestsReserved = kRdmaMessagesInFlightMax + 8;
// Fewer would be a lane that waits more than it moves.
inline constexpr uint32_t kRdmaRequestsMin = 2 * kRdmaRequestsReserved;
// RDMA reads that a device has on its way at a time; those behind them wait in the send queue.
inline constexpr uint8_t kRdmaReadsInFlightMax = 16;
// Messages up to this travel in their work request, as far as the device does that.
inline constexpr uint32_t kRdmaInlineBytesWanted = 256;

// What ibv_query_device() says of a device, as far as it matters here.
struct DeviceLimits {
  uint32_t requests_max;      // max_qp_wr, of each queue of a queue pair
  uint32_t completions_max;   // max_cqe
  uint32_t reads_served_max;  // max_qp_rd_atom: of the peer's, at a time
  uint32_t reads_asked_max;   // max_qp_init_rd_atom: of ours
};

struct QueueSizes {
  uint32_t requests;
  uint32_t completions;
};

// Every request could fail at once, and a failed one completes even when it is not signalled: so
// the completion queue holds all that may stand in both queues. Errors: kRefused when the device is
// too small.
Result<QueueSizes> queue_sizes(const DeviceLimits& limits);

// RDMA reads at a time, in each direction.
struct ReadDepths {
  uint8_t served;
  uint8_t asked;
};

// What the device can do; and what is left of that when the peer asks up to `peer.asked` and serves
// up to `peer.served`.
ReadDepths read_depths(const DeviceLimits& limits);
ReadDepths read_depths(const DeviceLimits& limits, ReadDepths peer);

}  // namespace godwit
