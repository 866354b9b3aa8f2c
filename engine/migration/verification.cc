// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/verification.h"

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include <algorithm>
#include <array>

namespace godwit {

namespace {

alignas(64) constexpr std::array<std::byte, kBasePageBytes> kZeroPage{};

uint64_t hash_bytes(const GuestBlock& block, const PageBitmap& present, uint64_t begin,
                    uint64_t end) {
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_64bits_reset(&state);
  while (begin < end) {
    const uint64_t page = begin / block.page_size_bytes;
    const uint64_t page_end = std::min((page + 1) * block.page_size_bytes, end);
    if (present.test(page)) {
      XXH3_64bits_update(&state, block.memory.data() + begin, page_end - begin);
    } else {
      for (uint64_t at = begin; at < page_end; at += kBasePageBytes) {
        XXH3_64bits_update(&state, kZeroPage.data(), kZeroPage.size());
      }
    }
    begin = page_end;
  }
  return XXH3_64bits_digest(&state);
}

}  // namespace

uint64_t verify_chunk_count(const GuestBlock& block) {
  return (block.size_bytes() + kVerifyChunkBytes - 1) / kVerifyChunkBytes;
}

std::vector<uint64_t> hash_chunks(const GuestBlock& block, const PageBitmap& present,
                                  uint64_t first_chunk, uint64_t chunk_count) {
  std::vector<uint64_t> hashes;
  hashes.reserve(chunk_count);
  for (uint64_t chunk = first_chunk; chunk < first_chunk + chunk_count; ++chunk) {
    const uint64_t begin = chunk * kVerifyChunkBytes;
    const uint64_t end = std::min(begin + kVerifyChunkBytes, block.size_bytes());
    hashes.push_back(hash_bytes(block, present, begin, end));
  }
  return hashes;
}

}  // namespace godwit
