// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/chunk_map.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/units.h"
#include "engine/transport.h"

namespace godwit {
namespace {

// As large as an operation, so that none lies in more than two.
constexpr uint64_t kFirstChunkBytes = 256 * kKiB;
constexpr uint64_t kChunkBytesMin = 2 * kMiB;
constexpr uint64_t kChunkBytesMax = 64 * kMiB;
// For guests beyond 256 GiB: devices hold many regions, but not any number.
constexpr uint64_t kChunksMax = 4096;

static_assert(kFirstChunkBytes >= kOperationBytesMax);

uint64_t to_whole_huge_pages(uint64_t bytes) {
  return (bytes + kChunkBytesMin - 1) / kChunkBytesMin * kChunkBytesMin;
}

}  // namespace

ChunkMap::ChunkMap(uint64_t size_bytes) {
  const uint64_t largest = std::max(kChunkBytesMax, to_whole_huge_pages(size_bytes / kChunksMax));
  for (uint64_t begin = 0; begin < size_bytes;) {
    begins_.push_back(begin);
    begin += begin < kChunkBytesMin
                 ? std::max(begin, kFirstChunkBytes)
                 : std::clamp(to_whole_huge_pages(begin / 8), kChunkBytesMin, largest);
  }
  begins_.push_back(size_bytes);
}

size_t ChunkMap::index_of(uint64_t offset_bytes) const {
  DCHECK(offset_bytes < begins_.back());
  const auto after = std::upper_bound(begins_.begin(), begins_.end(), offset_bytes);
  return static_cast<size_t>(after - begins_.begin()) - 1;
}

}  // namespace godwit
