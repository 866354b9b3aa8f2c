// SPDX-License-Identifier: Apache-2.0
//
// Feeds a parser a whole stream in pieces, and gives each event to a function while it is valid.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <random>
#include <span>
#include <vector>

#include "vmm-adapters/qemu/stream/wire.h"

namespace godwit::qemu::stream {

// The size of the next piece, given how much is left of a payload.
using PieceSize = std::function<size_t(uint64_t payload_left_bytes)>;

// Every byte of an item on its own, payloads in two pieces.
inline size_t cut_items(uint64_t payload_left_bytes) {
  return std::max<size_t>(payload_left_bytes, 2) - 1;
}

inline PieceSize pieces_of(size_t size_bytes) {
  return [size_bytes](uint64_t) { return size_bytes; };
}
// Mostly small ones, so that everything is cut somewhere.
inline PieceSize random_pieces(uint64_t seed) {
  return [random = std::mt19937_64(seed)](uint64_t) mutable -> size_t {
    return 1 + random() % (random() % 4 == 0 ? 9000 : 40);
  };
}

// Every piece is a copy of its own that is overwritten once it is used up: an event that points
// into an old one would be noticed.
template <typename Event, typename Parser, typename Visit>
void walk(Parser& parser, Bytes stream, const PieceSize& piece_size, const Visit& visit) {
  Event event;
  std::vector<std::byte> piece;
  while (!stream.empty()) {
    const size_t size = std::min(piece_size(parser.payload_left_bytes()), stream.size());
    piece.assign(stream.begin(), stream.begin() + static_cast<ptrdiff_t>(size));
    stream = stream.subspan(size);
    parser.feed(piece);
    while (parser.next(event)) visit(event);
    std::fill(piece.begin(), piece.end(), std::byte{0xee});
  }
  if (parser.finish(event)) visit(event);
}

inline void append(std::vector<std::byte>& output, Bytes bytes) {
  output.insert(output.end(), bytes.begin(), bytes.end());
}

}  // namespace godwit::qemu::stream
