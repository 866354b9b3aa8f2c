// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/pagemap_scan.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cerrno>

#include "engine/base/units.h"
#include "vmm-adapters/linux/userfault_fd.h"
#include "vmm-adapters/linux/write_protected_ranges.h"

namespace godwit {
namespace {

// Regions per call. A small vector costs the same as a large one (measured with 512) as the walk
// resumes where it stopped.
constexpr size_t kRegionsPerCall = 1024;

constexpr uint64_t kCheckedFlags = uapi::kScanCheckWriteProtectAsync;

// A page of our own shared memory.
struct ProbePage {
  std::byte* address = nullptr;

  ProbePage() {
    void* mapped =
        mmap(nullptr, kBasePageBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (mapped != MAP_FAILED) address = static_cast<std::byte*>(mapped);
  }
  ~ProbePage() {
    if (address != nullptr) munmap(address, kBasePageBytes);
  }
  ProbePage(const ProbePage&) = delete;
  ProbePage& operator=(const ProbePage&) = delete;

  AddressRange range() const {
    auto start = reinterpret_cast<uint64_t>(address);
    return {start, start + kBasePageBytes};
  }
};

}  // namespace

PagemapScan::PagemapScan(int pagemap) : pagemap_(pagemap), regions_(kRegionsPerCall) {}

Result<size_t> PagemapScan::scan(uapi::PagemapScanArgument& argument) {
  argument.size = sizeof(argument);
  while (true) {
    int count = ioctl(pagemap_, uapi::kPagemapScan, &argument);
    if (count >= 0) return static_cast<size_t>(count);
    if (errno == EINTR) continue;
    if (errno == EPERM) {
      return fail(Errc::kGuest,
                  "memory at {:#x} is not write-tracked any more: it was remapped, or "
                  "another program unregistered it",
                  argument.walk_end);
    }
    if (errno == ENOTTY || errno == EINVAL) {
      return fail_errno(errno, "PAGEMAP_SCAN (Linux 6.7 or later has it)");
    }
    return fail_errno(errno, "PAGEMAP_SCAN [{:#x}, {:#x})", argument.start, argument.end);
  }
}

Status PagemapScan::arm(AddressRange range) {
  while (range.start < range.end) {
    // Without a vector this is "write-protect only": it takes unpopulated pages as well, which the
    // category "written" would pass over where there is no page table yet.
    uapi::PagemapScanArgument argument{};
    argument.flags = uapi::kScanWriteProtectMatching | kCheckedFlags;
    argument.start = range.start;
    argument.end = range.end;
    RETURN_IF_ERROR(scan(argument));
    if (argument.walk_end <= range.start) {
      return fail(Errc::kSystem, "PAGEMAP_SCAN made no progress at {:#x}", range.start);
    }
    range.start = argument.walk_end;
  }
  return {};
}

Result<std::optional<uint64_t>> PagemapScan::find_written(AddressRange range) {
  uapi::PageRegion region{};
  uapi::PagemapScanArgument argument{};
  argument.flags = kCheckedFlags;
  argument.start = range.start;
  argument.end = range.end;
  argument.vec = reinterpret_cast<uint64_t>(&region);
  argument.vec_len = 1;
  argument.max_pages = 1;
  argument.category_mask = uapi::kPageIsWritten;
  argument.return_mask = uapi::kPageIsWritten;
  ASSIGN_OR_RETURN(size_t count, scan(argument));
  if (count == 0) return std::nullopt;
  return region.start;
}

Result<size_t> PagemapScan::harvest_some(AddressRange& range) {
  uapi::PagemapScanArgument argument{};
  argument.flags = uapi::kScanWriteProtectMatching | kCheckedFlags;
  argument.start = range.start;
  argument.end = range.end;
  argument.vec = reinterpret_cast<uint64_t>(regions_.data());
  argument.vec_len = regions_.size();
  argument.category_mask = uapi::kPageIsWritten;
  argument.return_mask = uapi::kPageIsWritten;
  ASSIGN_OR_RETURN(size_t count, scan(argument));
  if (argument.walk_end <= range.start) {
    return fail(Errc::kSystem, "PAGEMAP_SCAN made no progress at {:#x}", range.start);
  }
  range.start = argument.walk_end;
  return count;
}

Result<UniqueFd> open_pagemap(int pid) {
  std::string path = pid == 0 ? "/proc/self/pagemap" : fmt::format("/proc/{}/pagemap", pid);
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return fail_errno(errno, "open {}", path);
  return fd;
}

Status probe_pagemap_scan() {
  ProbePage page;
  if (page.address == nullptr) return fail_errno(errno, "mmap of a page to probe write tracking");
  ASSIGN_OR_RETURN(UniqueFd userfaultfd, open_userfaultfd());
  RETURN_IF_ERROR(enable_write_tracking(userfaultfd.get()));
  ASSIGN_OR_RETURN(UniqueFd pagemap, open_pagemap(0));
  PagemapScan scan(pagemap.get());
  RETURN_IF_ERROR(register_write_protection(userfaultfd.get(), page.range()));
  RETURN_IF_ERROR(scan.arm(page.range()));
  ASSIGN_OR_RETURN(std::optional<uint64_t> before, scan.find_written(page.range()));
  *const_cast<volatile std::byte*>(page.address) = std::byte{1};
  uint64_t written_pages = 0;
  RETURN_IF_ERROR(scan.harvest(page.range(), [&](AddressRange) { written_pages++; }));
  ASSIGN_OR_RETURN(std::optional<uint64_t> after, scan.find_written(page.range()));
  if (before.has_value() || written_pages != 1 || after.has_value()) {
    return fail(Errc::kRefused, "this kernel's write tracking (PAGEMAP_SCAN) gives wrong answers");
  }
  return {};
}

}  // namespace godwit
