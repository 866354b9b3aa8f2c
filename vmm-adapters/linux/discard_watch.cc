// SPDX-License-Identifier: Apache-2.0
//
// The mapping is registered for minor faults, for two effects: UFFDIO_CONTINUE maps a page if and
// only if it has storage, and the kernel does not map neighbours along with a fault. No fault ever
// happens on it.
#include "vmm-adapters/linux/discard_watch.h"

#include <linux/magic.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "engine/base/units.h"
#include "vmm-adapters/linux/pagemap_scan.h"
#include "vmm-adapters/linux/pagemap_uapi.h"
#include "vmm-adapters/linux/userfault_fd.h"

namespace godwit {
namespace {

// SAFETY: only as a number for the kernel.
uint64_t address_of(const void* start) {
  return reinterpret_cast<uint64_t>(start);
}

}  // namespace

Result<std::unique_ptr<DiscardWatch>> DiscardWatch::open(const GuestMemory& memory) {
  std::unique_ptr<DiscardWatch> watch(new DiscardWatch(memory));
  ASSIGN_OR_RETURN(watch->pagemap_, open_pagemap(0));
  ASSIGN_OR_RETURN(watch->userfaultfd_, open_userfaultfd());
  uffdio_api api = {};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_MINOR_SHMEM;
  if (::ioctl(watch->userfaultfd_.get(), UFFDIO_API, &api) != 0)
    return fail_errno(errno, "userfaultfd for minor faults, to watch for discarded memory");
  for (size_t index = 0; index < memory.size(); ++index) RETURN_IF_ERROR(watch->watch(index));
  return watch;
}

DiscardWatch::~DiscardWatch() {
  for (const WatchedBlock& block : blocks_) ::munmap(block.start, block.size_bytes);
}

Status DiscardWatch::watch(size_t block_index) {
  const GuestBlock& block = memory_[block_index];
  if (block.fd < 0) return {};
  struct statfs filesystem = {};
  if (::fstatfs(block.fd, &filesystem) != 0)
    return fail_errno(errno, "fstatfs of RAM block '{}'", block.name);
  if (filesystem.f_type != TMPFS_MAGIC) return {};

  void* start = ::mmap(nullptr, block.size_bytes(), PROT_READ, MAP_SHARED, block.fd,
                       static_cast<off_t>(block.fd_offset_bytes));
  if (start == MAP_FAILED) return fail_errno(errno, "map RAM block '{}' once more", block.name);
  blocks_.push_back({block_index, start, block.size_bytes()});

  // All at once, with the neighbours: several times faster than one by one, and what is punched
  // meanwhile is none of our business yet. The price is that such a page is allocated again.
  PageBitmap present(block.page_count());
  RETURN_IF_ERROR(find_present_pages(block, present));
  for (auto run = present.next_run(0, present.page_count()); run;
       run = present.next_run(run->first_page + run->page_count, present.page_count())) {
    std::byte* const first =
        static_cast<std::byte*>(start) + run->first_page * block.page_size_bytes;
    if (::madvise(first, run->page_count * block.page_size_bytes, MADV_POPULATE_READ) != 0)
      return fail_errno(errno, "populate the watch on RAM block '{}'", block.name);
  }
  uffdio_register registration = {};
  registration.range = {address_of(start), block.size_bytes()};
  registration.mode = UFFDIO_REGISTER_MODE_MINOR;
  if (::ioctl(userfaultfd_.get(), UFFDIO_REGISTER, &registration) != 0)
    return fail_errno(errno, "register the watch on RAM block '{}'", block.name);
  return {};
}

Status DiscardWatch::collect(GuestPageSet& pages) {
  for (const WatchedBlock& watched : blocks_)
    RETURN_IF_ERROR(collect_block(watched, pages[watched.index]));
  return {};
}

Status DiscardWatch::collect_block(const WatchedBlock& watched, PageBitmap& pages) {
  const uint64_t start = address_of(watched.start);
  std::array<uapi::PageRegion, 512> absent;
  uapi::PagemapScanArgument scan = {};
  scan.size = sizeof scan;
  scan.end = start + watched.size_bytes;
  scan.vec = address_of(absent.data());
  scan.vec_len = absent.size();
  // Pages that are neither present nor on their way to another place.
  scan.category_inverted = scan.category_mask = uapi::kPageIsPresent | uapi::kPageIsSwapped;

  for (scan.start = start; scan.start < scan.end; scan.start = scan.walk_end) {
    const int count = ::ioctl(pagemap_.get(), uapi::kPagemapScan, &scan);
    if (count < 0) return fail_errno(errno, "scan for discarded memory");
    for (const uapi::PageRegion& run : std::span(absent).first(static_cast<size_t>(count)))
      RETURN_IF_ERROR(map_present(watched, run.start - start, run.end - start, pages));
  }
  return {};
}

Status DiscardWatch::map_present(const WatchedBlock& watched, uint64_t begin, uint64_t end,
                                 PageBitmap& pages) {
  const GuestBlock& block = memory_[watched.index];
  const auto file_end = static_cast<off_t>(block.fd_offset_bytes + end);
  for (uint64_t at = begin; at < end;) {
    const off_t data = ::lseek(block.fd, static_cast<off_t>(block.fd_offset_bytes + at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};
    if (data < 0) return fail_errno(errno, "SEEK_DATA in RAM block '{}'", block.name);
    if (data >= file_end) return {};
    at = static_cast<uint64_t>(data) - block.fd_offset_bytes;

    uffdio_continue map = {};
    map.range = {address_of(watched.start) + at, end - at};
    map.mode = UFFDIO_CONTINUE_MODE_DONTWAKE;
    const int outcome = ::ioctl(userfaultfd_.get(), UFFDIO_CONTINUE, &map);
    const int os_errno = outcome == 0 ? 0 : errno;
    const uint64_t mapped = map.mapped > 0 ? static_cast<uint64_t>(map.mapped) : 0;
    if (mapped > 0) {
      const uint64_t first = at / block.page_size_bytes;
      const uint64_t past = (at + mapped + block.page_size_bytes - 1) / block.page_size_bytes;
      pages.set_run({first, past - first});
      at += mapped;
    } else if (os_errno == EFAULT || os_errno == EEXIST) {
      at += kBasePageBytes;  // gone again meanwhile, or mapped
    } else if (os_errno != EAGAIN) {
      return fail_errno(os_errno, "UFFDIO_CONTINUE in RAM block '{}'", block.name);
    }
  }
  return {};
}

}  // namespace godwit
