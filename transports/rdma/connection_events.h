// SPDX-License-Identifier: Apache-2.0
//
// Waiting for events of rdma_cm, with a deadline, and without ever blocking in the library.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "transports/rdma/queue_sizes.h"
#include "transports/rdma/verbs_handles.h"

namespace godwit {

// A copy of what an event says, so that it can be acknowledged at once: rdma_destroy_id() waits
// until all events of an id are.
struct ConnectionEvent {
  rdma_cm_event_type type;
  int status;
  rdma_cm_id* id;  // of a connect request: the new one, the caller's to own
  std::vector<std::byte> private_data;
  ReadDepths peer_reads;  // of a connect request
};

// Never blocks in the library.
Result<VerbsHandle<rdma_event_channel>> make_event_channel();

// For a reliable connection; its events come through `channel`, which has to outlive it.
Result<VerbsHandle<rdma_cm_id>> make_id(rdma_event_channel* channel);

// What to wait for beside the events when there is nothing.
inline constexpr int kNoWakeEvent = -1;

// Returns the next event. Errors: kTimeout; kCancelled once `wake_event` is readable.
Result<ConnectionEvent> next_event(rdma_event_channel* channel, int wake_event, Deadline deadline);

// The same, and anything but `expected` is an error in words: kRefused for a rejection, else
// kPeerLost.
Result<ConnectionEvent> expect_event(rdma_event_channel* channel, int wake_event,
                                     rdma_cm_event_type expected, Deadline deadline);

}  // namespace godwit
