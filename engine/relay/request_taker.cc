// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/request_taker.h"

#include <algorithm>

#include "engine/relay/stream_traffic.h"

namespace godwit::relay {

Status RequestTaker::run() {
  return lane_.carry(
      parts_.stream, [this] { return read_some(); },
      [this] { return parts_.requests.end_of_requests(*this); });
}

Result<VmmStream::State> RequestTaker::read_some() {
  ASSIGN_OR_RETURN(const VmmStream::Progress progress, parts_.stream.read(piece_));
  if (progress.state == VmmStream::State::kOpen) {
    count(parts_.counter, progress.bytes);
    RETURN_IF_ERROR(parts_.requests.take_requests(std::span(piece_).first(progress.bytes), *this));
  }
  return progress.state;
}

Status RequestTaker::pass_on(std::span<const std::byte> bytes) {
  while (!bytes.empty() && !lane_.ended_there()) {
    if (lane_.room_bytes() == 0) {
      RETURN_IF_ERROR(lane_.wait_for_word());
      continue;
    }
    const RingPiece piece = piece_at(
        lane_.position().filled, parts_.ring.size(),
        std::min({lane_.room_bytes(), bytes.size(), static_cast<size_t>(kOperationBytesMax)}));
    std::ranges::copy(bytes.first(piece.size_bytes),
                      parts_.ring.begin() + static_cast<ptrdiff_t>(piece.offset_bytes));
    RETURN_IF_ERROR(lane_.push(write_of(piece, parts_.local, parts_.remote)));
    bytes = bytes.subspan(piece.size_bytes);
  }
  return {};
}

}  // namespace godwit::relay
