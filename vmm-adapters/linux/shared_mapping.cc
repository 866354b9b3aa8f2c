// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/shared_mapping.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "engine/base/units.h"

namespace godwit {
namespace {

// What the kernel maps around a read fault, aligned (fault_around_bytes, its default).
constexpr uint64_t kFaultAroundBytes = 64 * kKiB;

}  // namespace

Result<SharedMapping> SharedMapping::map(int fd, Place place) {
  void* address = mmap(nullptr, place.size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                       static_cast<off_t>(place.offset_bytes));
  if (address == MAP_FAILED) {
    return fail_errno(errno, "map {} MiB of guest memory", place.size_bytes / kMiB);
  }
  // Says nothing about order, but that our looking at a page tells nothing about the guest's use of
  // it. Else unmapping moves every page to the kernel's list of active ones: 0.1 s/GiB of CPU time.
  madvise(address, place.size_bytes, MADV_RANDOM);
  // SAFETY: the mapping is [address, address + size_bytes) until munmap in the destructor.
  return SharedMapping({static_cast<std::byte*>(address), place.size_bytes});
}

SharedMapping& SharedMapping::operator=(SharedMapping&& other) noexcept {
  if (this != &other) {
    if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
    bytes_ = std::exchange(other.bytes_, {});
  }
  return *this;
}

SharedMapping::~SharedMapping() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

Status map_present_pages(const GuestBlock& block) {
  PageBitmap present(block.page_count());
  RETURN_IF_ERROR(find_present_pages(block, present));
  const uint64_t step_bytes = std::max(kFaultAroundBytes, block.page_size_bytes);
  uint64_t at = 0;
  while (auto run = present.next_run(at, present.page_count())) {
    at = run->first_page + run->page_count;
    uint64_t end = at * block.page_size_bytes;
    for (uint64_t offset = run->first_page * block.page_size_bytes; offset < end;
         offset = (offset / step_bytes + 1) * step_bytes) {
      // SAFETY: volatile, because the load is wanted for its page fault and not for its value.
      static_cast<void>(*static_cast<const volatile std::byte*>(&block.memory[offset]));
    }
  }
  return {};
}

Status map_present_pages(const GuestMemory& memory) {
  for (const GuestBlock& block : memory) RETURN_IF_ERROR(map_present_pages(block));
  return {};
}

}  // namespace godwit
