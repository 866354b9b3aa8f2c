// SPDX-License-Identifier: Apache-2.0
//
// One direction of a byte stream, at the end where it comes from: reads it straight into a ring,
// pushes that to the receiver's ring, and never has more in it than the receiver has room for, so
// that whoever writes it is held up as by a full socket.
#pragma once

#include <array>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/relay/stream_ring.h"
#include "engine/transport.h"
#include "engine/vmm_stream.h"
#include "engine/wire/lane_messages.h"

namespace godwit::relay {

// Thread: one, which owns the endpoint.
class StreamSender {
 public:
  struct Parts {
    Endpoint& endpoint;
    VmmStream& stream;
    std::span<std::byte> ring;
    const MemoryRegion& local;  // the ring
    RemoteRegion remote;        // the receiver's, of the same size
  };
  explicit StreamSender(const Parts& parts) : parts_(parts) {}

  // Returns when the stream has ended and everything was passed on, or nobody takes any more: then
  // it is not read any further. Errors: the endpoint's and the stream's.
  Status run();

  uint64_t bytes() const { return position_.drained; }

 private:
  Result<VmmStream::State> read_some();
  Status push(RingPiece piece);
  Status announce(StreamEnd end);
  Status settle();
  Status take_word(Deadline deadline);
  // The receiver ended before it had everything: nobody reads it.
  bool refused() const { return ended_there_ && position_.used() > 0; }
  Status take_completions(Deadline deadline);

  Parts parts_;
  RingPosition position_;
  bool ended_there_ = false;
  uint64_t in_flight_ = 0;
  std::vector<std::byte> message_;
  std::array<Completion, 32> completions_;
  std::array<std::byte, kLaneMessageBytesMax> received_;
};

}  // namespace godwit::relay
