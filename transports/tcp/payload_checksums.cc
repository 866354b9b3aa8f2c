// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/payload_checksums.h"

#include <algorithm>

#include "transports/tcp/checksum.h"

namespace godwit {
namespace {

template <typename Visit>
void for_each_block(std::span<const iovec> pieces, Visit&& visit) {
  for (const iovec& piece : pieces) {
    const auto* start = static_cast<const std::byte*>(piece.iov_base);
    for (size_t at = 0; at < piece.iov_len; at += kBasePageBytes) {
      visit(std::span(start + at, std::min<size_t>(kBasePageBytes, piece.iov_len - at)));
    }
  }
}

}  // namespace

uint32_t write_checksums(std::span<const iovec> pieces, std::byte* output) {
  uint32_t written = 0;
  for_each_block(pieces, [&](std::span<const std::byte> block) {
    store_u32(crc32c(block), output + written);
    written += 4;
  });
  return written;
}

uint32_t find_torn(std::span<const iovec> pieces, std::span<const std::byte> checksums,
                   TornFrame& torn) {
  torn.blocks.fill(0);
  uint32_t index = 0;
  uint32_t torn_count = 0;
  for_each_block(pieces, [&](std::span<const std::byte> block) {
    if (crc32c(block) != checksum_at(checksums, index)) {
      torn.blocks[index / 64] |= uint64_t{1} << (index % 64);
      ++torn_count;
    }
    ++index;
  });
  return torn_count;
}

const std::byte* block_start(std::span<const iovec> pieces, uint32_t block) {
  const std::byte* found = nullptr;
  uint32_t index = 0;
  for_each_block(pieces, [&](std::span<const std::byte> bytes) {
    if (index++ == block) found = bytes.data();
  });
  return found;
}

}  // namespace godwit
