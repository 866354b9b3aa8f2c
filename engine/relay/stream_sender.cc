// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/stream_sender.h"

#include <algorithm>

#include "engine/relay/lane_word.h"

namespace godwit::relay {
namespace {

// More at once gains nothing: a unix socket holds about as much.
constexpr uint64_t kReadBytesMax = kOperationBytesMax;

}  // namespace

Status StreamSender::run() {
  while (!ended_there_) {
    RETURN_IF_ERROR(take_word(Deadline{}));
    RETURN_IF_ERROR(take_completions(Deadline{}));
    if (position_.used() == parts_.ring.size()) {
      RETURN_IF_ERROR(take_word(deadline_in(kLanePatience)));
      continue;
    }
    ASSIGN_OR_RETURN(const VmmStream::State state, read_some());
    if (state == VmmStream::State::kEnded) {
      RETURN_IF_ERROR(announce(StreamEnd::kEnded));
      while (!ended_there_) RETURN_IF_ERROR(take_word(deadline_in(kLanePatience)));
    } else if (state == VmmStream::State::kNotReady) {
      // What was posted has to move on before this thread sleeps.
      RETURN_IF_ERROR(settle());
      RETURN_IF_ERROR(parts_.stream.wait_readable());
    }
  }
  if (!refused()) return {};
  parts_.stream.end_reading();
  return announce(StreamEnd::kEnded);
}

Result<VmmStream::State> StreamSender::read_some() {
  const RingPiece piece = piece_at(position_.filled, parts_.ring.size(),
                                   std::min(parts_.ring.size() - position_.used(), kReadBytesMax));
  ASSIGN_OR_RETURN(const VmmStream::Progress progress,
                   parts_.stream.read(parts_.ring.subspan(piece.offset_bytes, piece.size_bytes)));
  if (progress.state == VmmStream::State::kOpen)
    RETURN_IF_ERROR(push({piece.offset_bytes, progress.bytes}));
  return progress.state;
}

Status StreamSender::push(RingPiece piece) {
  const TransferOp operation{.local = &parts_.local,
                             .local_offset_bytes = piece.offset_bytes,
                             .remote = parts_.remote,
                             .remote_offset_bytes = piece.offset_bytes,
                             .size_bytes = static_cast<uint32_t>(piece.size_bytes),
                             .tag = 0};
  while (true) {
    ASSIGN_OR_RETURN(const size_t accepted,
                     parts_.endpoint.post_writes(std::span(&operation, 1), SourceMemory::kFrozen));
    in_flight_ += accepted;
    if (accepted == 1) break;
    RETURN_IF_ERROR(take_completions(deadline_in(kLanePatience)));
  }
  position_.filled += piece.size_bytes;
  return announce(StreamEnd::kOpen);
}

Status StreamSender::announce(StreamEnd end) {
  return say(parts_.endpoint, StreamFilled{position_.filled, end}, message_);
}

Status StreamSender::settle() {
  while (true) {
    const Status flushed = parts_.endpoint.flush(deadline_in(kLanePatience));
    if (flushed || flushed.error().code != Errc::kTimeout) return flushed;
  }
}

Status StreamSender::take_word(Deadline deadline) {
  const Result<size_t> size = parts_.endpoint.receive(received_, deadline);
  if (!size) {
    if (size.error().code == Errc::kTimeout) return {};
    return tl::unexpected<Error>(size.error());
  }
  ASSIGN_OR_RETURN(const LaneMessage message,
                   decode_lane_message(std::span(received_).first(*size)));
  const auto* drained = std::get_if<StreamDrained>(&message);
  if (drained == nullptr || drained->total_bytes < position_.drained ||
      drained->total_bytes > position_.filled)
    return fail(Errc::kCorrupt, "the receiver of a stream answers what cannot be ({})",
                name_of(message));
  position_.drained = drained->total_bytes;
  ended_there_ = drained->end == StreamEnd::kEnded;
  return {};
}

Status StreamSender::take_completions(Deadline deadline) {
  if (in_flight_ == 0) return {};
  ASSIGN_OR_RETURN(const size_t count, parts_.endpoint.poll(completions_, deadline));
  in_flight_ -= count;
  return {};
}

}  // namespace godwit::relay
