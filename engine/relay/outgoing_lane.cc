// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/outgoing_lane.h"

#include <poll.h>

#include "engine/relay/lane_word.h"

namespace godwit::relay {
namespace {

// How long the stream is waited for before what was posted is looked after again. The VMM waits
// where its socket is full, which takes it less than that; what was posted is on its way by itself,
// but for what the connection had no room for.
constexpr int kLookAfterMilliseconds = 1;

bool becomes_readable(const VmmStream& stream) {
  pollfd socket{stream.fd(), POLLIN, 0};
  return ::poll(&socket, 1, kLookAfterMilliseconds) > 0;
}

}  // namespace

Status OutgoingLane::carry(VmmStream& stream,
                           const std::function<Result<VmmStream::State>()>& read_some,
                           const std::function<Status()>& finish) {
  while (!ended_there_) {
    RETURN_IF_ERROR(catch_up());
    ASSIGN_OR_RETURN(const VmmStream::State state, read_some());
    if (state == VmmStream::State::kEnded) {
      RETURN_IF_ERROR(finish());
      RETURN_IF_ERROR(announce(0, StreamEnd::kEnded));
      while (!ended_there_) RETURN_IF_ERROR(wait_for_word());
    } else if (state == VmmStream::State::kNotReady) {
      RETURN_IF_ERROR(wait_readable(stream));
    }
  }
  const bool refused = position_.used() > 0;  // before everything was read
  if (!refused) return {};
  stream.end_reading();
  return announce(0, StreamEnd::kEnded);
}

Status OutgoingLane::post(std::span<const TransferOp> operations, SourceMemory memory) {
  while (true) {
    ASSIGN_OR_RETURN(const size_t accepted, endpoint_.post_writes(operations, memory));
    in_flight_ += accepted;
    operations = operations.subspan(accepted);
    if (operations.empty()) return {};
    RETURN_IF_ERROR(wait_for_completion());
  }
}

Status OutgoingLane::push(const TransferOp& ring_write) {
  RETURN_IF_ERROR(post(std::span(&ring_write, 1), SourceMemory::kFrozen));
  return announce(ring_write.size_bytes, StreamEnd::kOpen);
}

Status OutgoingLane::announce(uint64_t size_bytes, StreamEnd end) {
  position_.filled += size_bytes;
  return send(StreamFilled{position_.filled, end});
}

Status OutgoingLane::send(const LaneMessage& message) {
  unsettled_ = true;
  return say(endpoint_, message, message_);
}

Status OutgoingLane::wait_for_receiver() {
  RETURN_IF_ERROR(send(RoundEnd{++asked_}));
  while (answered_ != asked_) RETURN_IF_ERROR(wait_for_word());
  while (in_flight_ > 0) RETURN_IF_ERROR(wait_for_completion());
  return {};
}

Status OutgoingLane::catch_up() {
  RETURN_IF_ERROR(take_word(Deadline{}));
  return take_completions(Deadline{});
}

Status OutgoingLane::wait_for_word() {
  return take_word(deadline_in(kLanePatience));
}

Status OutgoingLane::wait_for_completion() {
  return take_completions(deadline_in(kLanePatience));
}

Status OutgoingLane::wait_readable(VmmStream& stream) {
  while (in_flight_ > 0) {
    if (becomes_readable(stream)) return {};
    RETURN_IF_ERROR(take_completions(Deadline{}));
  }
  // Words have to move on, too, before this thread sleeps.
  while (unsettled_) {
    const Status flushed = endpoint_.flush(deadline_in(kLanePatience));
    if (!flushed && flushed.error().code != Errc::kTimeout) return flushed;
    unsettled_ = !flushed.has_value();
  }
  return stream.wait_readable();
}

Status OutgoingLane::take_word(Deadline deadline) {
  const Result<size_t> size = endpoint_.receive(received_, deadline);
  if (!size) {
    if (size.error().code == Errc::kTimeout) return {};
    return tl::unexpected<Error>(size.error());
  }
  ASSIGN_OR_RETURN(const LaneMessage message,
                   decode_lane_message(std::span(received_).first(*size)));
  if (const auto* drained = std::get_if<StreamDrained>(&message)) return take(*drained);
  if (const auto* done = std::get_if<RoundDone>(&message);
      done != nullptr && done->round == answered_ + 1 && done->round <= asked_) {
    answered_ = done->round;
    return {};
  }
  return fail(Errc::kCorrupt, "the receiver of a stream answers what cannot be ({})",
              name_of(message));
}

Status OutgoingLane::take(const StreamDrained& word) {
  if (word.total_bytes < position_.drained || word.total_bytes > position_.filled)
    return fail(Errc::kCorrupt, "the receiver of a stream took {} bytes of {}", word.total_bytes,
                position_.filled);
  position_.drained = word.total_bytes;
  ended_there_ = word.end == StreamEnd::kEnded;
  return {};
}

Status OutgoingLane::take_completions(Deadline deadline) {
  if (in_flight_ == 0) return {};
  ASSIGN_OR_RETURN(const size_t count, endpoint_.poll(completions_, deadline));
  in_flight_ -= count;
  if (on_done_) {
    for (const Completion& completion : std::span(completions_).first(count)) on_done_(completion);
  }
  return {};
}

}  // namespace godwit::relay
