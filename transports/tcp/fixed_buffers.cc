// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/fixed_buffers.h"

#include <algorithm>

#include "engine/base/units.h"
#include "transports/tcp/frames.h"

namespace godwit {
namespace {

// The kernel's limit for one buffer is 1 GiB.
constexpr uint64_t kChunkBytes = 512 * kMiB;

}  // namespace

std::optional<uint16_t> FixedBuffers::find_or_register(io_uring& ring, uint64_t region_key,
                                                       std::span<std::byte> region,
                                                       const void* start) {
  const auto offset = static_cast<uint64_t>(static_cast<const std::byte*>(start) - region.data());
  const uint64_t chunk = offset / kChunkBytes;
  for (uint16_t i = 0; i < buffer_count_; ++i) {
    const Buffer& buffer = buffers_[i];
    if (buffer.region_key != region_key || buffer.chunk != chunk) continue;
    return buffer.refused ? std::nullopt : std::optional(i);
  }
  if (buffer_count_ == kBuffersMax) return std::nullopt;
  if (!table_made_ && io_uring_register_buffers_sparse(&ring, kBuffersMax) != 0) {
    return std::nullopt;
  }
  table_made_ = true;
  const uint64_t chunk_start = chunk * kChunkBytes;
  const iovec memory{region.data() + chunk_start,
                     std::min(kChunkBytes + kFramePayloadBytesMax, region.size() - chunk_start)};
  const __u64 no_tag = 0;
  const uint16_t index = buffer_count_++;
  const int result = io_uring_register_buffers_update_tag(&ring, index, &memory, &no_tag, 1);
  buffers_[index] = {region_key, chunk, result != 1};
  return result == 1 ? std::optional(index) : std::nullopt;
}

}  // namespace godwit
