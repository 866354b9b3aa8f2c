// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/stream_receiver.h"

#include "engine/base/time.h"
#include "engine/migration/zero_clearing.h"
#include "engine/relay/lane_word.h"

namespace godwit::relay {
namespace {

// The sender hears of room when there is this share of the ring, or all of it.
constexpr uint64_t kReportShare = 4;

}  // namespace

Status StreamReceiver::run() {
  while (!over_) {
    const Result<size_t> size = parts_.endpoint.receive(received_, deadline_in(kLanePatience));
    if (!size) {
      if (size.error().code == Errc::kTimeout) continue;
      return tl::unexpected<Error>(size.error());
    }
    ASSIGN_OR_RETURN(const LaneMessage message,
                     decode_lane_message(std::span(received_).first(*size)));
    if (const auto* filled = std::get_if<StreamFilled>(&message)) {
      RETURN_IF_ERROR(handle(*filled));
    } else if (const auto* zeroes = std::get_if<ZeroRuns>(&message); zeroes && parts_.guest) {
      RETURN_IF_ERROR(handle(*zeroes));
    } else if (const auto* end = std::get_if<RoundEnd>(&message); end && parts_.guest) {
      RETURN_IF_ERROR(say(parts_.endpoint, RoundDone{end->round, zeroed_pages_}, message_));
    } else {
      return fail(Errc::kCorrupt, "the sender of a stream says {}", name_of(message));
    }
  }
  return {};
}

Status StreamReceiver::handle(const ZeroRuns& message) {
  RETURN_IF_ERROR(validate(message, *parts_.guest));
  ASSIGN_OR_RETURN(const uint64_t cleared,
                   clear_pages(message, *parts_.guest, *parts_.present_at_start));
  zeroed_pages_ += cleared;
  return {};
}

Status StreamReceiver::handle(const StreamFilled& message) {
  RETURN_IF_ERROR(take(message));
  const bool last = message.end == StreamEnd::kEnded;
  ASSIGN_OR_RETURN(const VmmStream::State reader, pass_on());
  if (reader == VmmStream::State::kEnded) {
    // Said once. What is on its way has to arrive nevertheless, so that the sender gets to hear it.
    if (!refused_) RETURN_IF_ERROR(report(StreamEnd::kEnded));
    refused_ = true;
    over_ = last;
    return {};
  }
  if (last) {
    RETURN_IF_ERROR(end());
    over_ = true;
    return report(StreamEnd::kEnded);
  }
  if (position_.used() == 0 || position_.drained - reported_ >= parts_.ring.size() / kReportShare)
    return report(StreamEnd::kOpen);
  return {};
}

Status StreamReceiver::take(const StreamFilled& message) {
  if (message.total_bytes < position_.filled ||
      message.total_bytes - position_.drained > parts_.ring.size())
    return fail(Errc::kCorrupt, "the sender of a stream wrote {} bytes where {} have room",
                message.total_bytes - position_.drained, parts_.ring.size());
  position_.filled = message.total_bytes;
  return {};
}

// Everything in the ring, unless nobody reads it any more.
Result<VmmStream::State> StreamReceiver::pass_on() {
  while (position_.used() > 0) {
    const RingPiece piece = piece_at(position_.drained, parts_.ring.size(), position_.used());
    ASSIGN_OR_RETURN(const VmmStream::Progress progress,
                     write(parts_.ring.subspan(piece.offset_bytes, piece.size_bytes)));
    position_.drained += progress.bytes;
    if (progress.state == VmmStream::State::kEnded) return progress.state;
    if (progress.state == VmmStream::State::kNotReady)
      RETURN_IF_ERROR(parts_.stream.wait_writable());
  }
  return VmmStream::State::kOpen;
}

Result<VmmStream::Progress> StreamReceiver::write(std::span<const std::byte> bytes) {
  if (parts_.answered != nullptr) {
    ASSIGN_OR_RETURN(const VmmStream::State reader, parts_.answered->take(bytes));
    return VmmStream::Progress{reader, reader == VmmStream::State::kOpen ? bytes.size() : 0};
  }
  ASSIGN_OR_RETURN(const VmmStream::Progress progress, parts_.stream.write(bytes));
  count(parts_.counter, progress.bytes);
  return progress;
}

Status StreamReceiver::end() {
  if (parts_.answered != nullptr) return parts_.answered->end();
  parts_.stream.end_writing();
  return {};
}

Status StreamReceiver::report(StreamEnd end) {
  reported_ = position_.drained;
  return say(parts_.endpoint, StreamDrained{position_.drained, end}, message_);
}

}  // namespace godwit::relay
