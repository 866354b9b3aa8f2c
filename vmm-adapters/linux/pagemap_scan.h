// SPDX-License-Identifier: Apache-2.0
//
// The ioctl PAGEMAP_SCAN as three operations on address ranges of one process: arm, find, harvest.
// All of them are told to fail on memory that is not under asynchronous write protection, because
// the kernel would otherwise call such memory clean.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "vmm-adapters/linux/pagemap_uapi.h"

namespace godwit {

struct AddressRange {
  uint64_t start;
  uint64_t end;  // exclusive
};

// Thread: one at a time.
class PagemapScan {
 public:
  // `pagemap` is /proc/PID/pagemap of the process whose addresses the ranges are; several scans may
  // use it at once. Ownership: it stays the caller's, and open as long as the scan is used.
  explicit PagemapScan(int pagemap);

  // Write-protects every page of the range, also those that are not populated.
  Status arm(AddressRange range);

  // Returns the address of the first page of the range that was written since it was armed. Does
  // not disturb anything: no write protection, no invalidation of a hypervisor's page tables.
  Result<std::optional<uint64_t>> find_written(AddressRange range);

  // Calls `take` with every run of written pages, and arms them again, atomically per page.
  template <typename Take>
  Status harvest(AddressRange range, Take take) {
    while (range.start < range.end) {
      ASSIGN_OR_RETURN(size_t count, harvest_some(range));
      for (size_t i = 0; i < count; i++) take(AddressRange{regions_[i].start, regions_[i].end});
    }
    return {};
  }

 private:
  // Fills regions_ from the start of the range and moves the start to where the walk stopped.
  Result<size_t> harvest_some(AddressRange& range);
  Result<size_t> scan(uapi::PagemapScanArgument& argument);

  int pagemap_;
  std::vector<uapi::PageRegion> regions_;
};

// Opens /proc/PID/pagemap; 0 is this process.
Result<UniqueFd> open_pagemap(int pid);

// Tries on a page of our own whether this kernel can track writes, by doing: registers it, arms it,
// writes to it and looks. Errors: kRefused or kSystem, saying what is missing.
Status probe_pagemap_scan();

}  // namespace godwit
