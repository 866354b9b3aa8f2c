// SPDX-License-Identifier: Apache-2.0
//
// The lane of one direction of a byte stream, at the end where it comes from: what was posted, what
// the receiver was told, and what it answered.
#pragma once

#include <array>
#include <functional>
#include <span>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/relay/stream_ring.h"
#include "engine/transport.h"
#include "engine/vmm_stream.h"
#include "engine/wire/lane_messages.h"

namespace godwit::relay {

// Writes a piece of a ring to the same place in the receiver's. `local` begins with the ring.
inline TransferOp write_of(RingPiece piece, const MemoryRegion& local, const RemoteRegion& remote,
                           uint64_t tag = 0) {
  return {.local = &local,
          .local_offset_bytes = piece.offset_bytes,
          .remote = remote,
          .remote_offset_bytes = piece.offset_bytes,
          .size_bytes = static_cast<uint32_t>(piece.size_bytes),
          .tag = tag};
}

// Thread: one, which owns the endpoint.
class OutgoingLane {
 public:
  // `ring_bytes` is the size of the receiver's ring. `on_done` hears of every operation.
  OutgoingLane(Endpoint& endpoint, uint64_t ring_bytes,
               std::function<void(const Completion&)> on_done = {})
      : endpoint_(endpoint), ring_bytes_(ring_bytes), on_done_(std::move(on_done)) {}

  const RingPosition& position() const { return position_; }
  uint64_t room_bytes() const { return ring_bytes_ - position_.used(); }

  // Nobody reads at the other end any more.
  bool ended_there() const { return ended_there_; }

  // The direction as a whole: reads as long as the stream has something and somebody takes it.
  // `read_some` reads from the stream and posts, or waits; `finish` posts what is left at the end.
  // Returns when everything was passed on, or nobody takes any more: then the stream is not read
  // any further.
  Status carry(VmmStream& stream, const std::function<Result<VmmStream::State>()>& read_some,
               const std::function<Status()>& finish);

  // Waits for room in the endpoint's queue.
  Status post(std::span<const TransferOp> operations, SourceMemory memory);

  // Posts what follows in the ring, and says so.
  Status push(const TransferOp& ring_write);
  // These many more bytes are in the ring, by what was posted before.
  Status announce(uint64_t size_bytes, StreamEnd end);

  // Returns when the receiver has acted on every message that was sent before, and what became of
  // everything that was posted is known.
  Status wait_for_receiver();
  Status send(const LaneMessage& message);

  // Waits for something to change, for a while.
  Status wait_for_word();
  Status wait_for_completion();

 private:
  // Takes what has come of words and completions. Does not wait.
  Status catch_up();
  // Waits until the stream has something to read, while what was posted moves on.
  Status wait_readable(VmmStream& stream);
  Status take_word(Deadline deadline);
  Status take_completions(Deadline deadline);
  Status take(const StreamDrained& word);

  Endpoint& endpoint_;
  const uint64_t ring_bytes_;
  const std::function<void(const Completion&)> on_done_;
  RingPosition position_;
  bool ended_there_ = false;
  uint64_t in_flight_ = 0;
  bool unsettled_ = false;  // a message was sent since the last flush
  uint32_t asked_ = 0;      // RoundEnd
  uint32_t answered_ = 0;   // RoundDone
  std::vector<std::byte> message_;
  std::array<Completion, 64> completions_;
  std::array<std::byte, kLaneMessageBytesMax> received_;
};

}  // namespace godwit::relay
