// SPDX-License-Identifier: Apache-2.0
//
// One direction of a byte stream, at the end where it comes from: reads it straight into a ring,
// pushes that to the receiver's ring, and never has more in it than the receiver has room for, so
// that whoever writes it is held up as by a full socket.
#pragma once

#include <atomic>
#include <span>

#include "engine/base/result.h"
#include "engine/relay/outgoing_lane.h"
#include "engine/relay/stream_ring.h"
#include "engine/transport.h"
#include "engine/vmm_stream.h"

namespace godwit::relay {

// Thread: one, which owns the endpoint.
class StreamSender {
 public:
  struct Parts {
    Endpoint& endpoint;
    VmmStream& stream;
    std::span<std::byte> ring;
    const MemoryRegion& local;                 // begins with the ring
    RemoteRegion remote;                       // the receiver's, of the same size
    std::atomic<uint64_t>* counter = nullptr;  // of the bytes read; may be null
  };
  explicit StreamSender(const Parts& parts)
      : parts_(parts), lane_(parts.endpoint, parts.ring.size()) {}

  // Returns when the stream has ended and everything was passed on, or nobody takes any more: then
  // it is not read any further. Errors: the endpoint's and the stream's.
  Status run();

  uint64_t bytes() const { return lane_.position().drained; }

 private:
  Result<VmmStream::State> read_some();

  Parts parts_;
  OutgoingLane lane_;
};

}  // namespace godwit::relay
