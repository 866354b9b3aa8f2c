// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/staging_ring.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "engine/base/check.h"
#include "engine/base/units.h"
#include "transports/rdma/rdma_region.h"

namespace godwit {
namespace {

// Enough to keep a fast link busy while the next pages are copied.
constexpr size_t kBytes = 4 * kMiB;

}  // namespace

Result<std::unique_ptr<StagingRing>> StagingRing::make(const RdmaDevice& device) {
  void* start = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (start == MAP_FAILED) return fail_errno(errno, "map {} bytes to copy pages into", kBytes);
  std::unique_ptr<StagingRing> ring(new StagingRing({static_cast<std::byte*>(start), kBytes}));
  ASSIGN_OR_RETURN(ring->region_, register_with(device, ring->bytes_, RemoteAccess::kNone));
  return ring;
}

StagingRing::~StagingRing() {
  region_.reset();
  ::munmap(bytes_.data(), bytes_.size());
}

uint64_t StagingRing::place_for(size_t bytes) const {
  const uint64_t offset = head_ % kBytes;
  return offset + bytes <= kBytes ? head_ : head_ + (kBytes - offset);
}

bool StagingRing::has_room(size_t bytes) const {
  return place_for(bytes) + bytes - tail_ <= kBytes;
}

std::span<std::byte> StagingRing::copy(std::span<const std::byte> bytes) {
  DCHECK(has_room(bytes.size()));
  const uint64_t place = place_for(bytes.size());
  std::span<std::byte> target = bytes_.subspan(place % kBytes, bytes.size());
  std::ranges::copy(bytes, target.begin());
  head_ = place + bytes.size();
  return target;
}

}  // namespace godwit
