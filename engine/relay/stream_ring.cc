// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/stream_ring.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace godwit::relay {

Result<StreamRing> StreamRing::make(uint64_t size_bytes) {
  void* start =
      ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED)
    return fail_errno(errno, "allocate {} KiB to pass a stream on", size_bytes / kKiB);
  return StreamRing({static_cast<std::byte*>(start), size_bytes});
}

StreamRing::StreamRing(StreamRing&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

StreamRing& StreamRing::operator=(StreamRing&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

StreamRing::~StreamRing() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

GuestMemory StreamRing::as_memory(const std::string& name) const {
  return {GuestBlock{.name = name,
                     .page_size_bytes = kBasePageBytes,
                     .numa_node = -1,
                     .memory = bytes_,
                     .fd = -1,
                     .fd_offset_bytes = 0}};
}

RingPiece piece_at(uint64_t at, uint64_t size_bytes, uint64_t limit_bytes) {
  const uint64_t offset = at % size_bytes;
  return {offset, std::min(size_bytes - offset, limit_bytes)};
}

}  // namespace godwit::relay
