// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/stream_sender.h"

#include <algorithm>

#include "engine/relay/stream_traffic.h"

namespace godwit::relay {
namespace {

// More at once gains nothing: a unix socket holds about as much.
constexpr uint64_t kReadBytesMax = kOperationBytesMax;

}  // namespace

Status StreamSender::run() {
  return lane_.carry(
      parts_.stream, [this] { return read_some(); }, [] { return Status(); });
}

Result<VmmStream::State> StreamSender::read_some() {
  if (lane_.room_bytes() == 0) {
    RETURN_IF_ERROR(lane_.wait_for_word());
    return VmmStream::State::kOpen;
  }
  const RingPiece piece = piece_at(lane_.position().filled, parts_.ring.size(),
                                   std::min(lane_.room_bytes(), kReadBytesMax));
  ASSIGN_OR_RETURN(const VmmStream::Progress progress,
                   parts_.stream.read(parts_.ring.subspan(piece.offset_bytes, piece.size_bytes)));
  if (progress.state == VmmStream::State::kOpen) {
    count(parts_.counter, progress.bytes);
    RETURN_IF_ERROR(
        lane_.push(write_of({piece.offset_bytes, progress.bytes}, parts_.local, parts_.remote)));
  }
  return progress.state;
}

}  // namespace godwit::relay
