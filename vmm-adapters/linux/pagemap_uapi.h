// SPDX-License-Identifier: Apache-2.0
//
// The part of the kernel's interface that is newer than the headers we build with (Debian 12 has
// those of 6.1): PAGEMAP_SCAN from include/uapi/linux/fs.h and two userfaultfd features from
// include/uapi/linux/userfaultfd.h, both since Linux 6.7. Names of our own, so that newer headers
// do not clash; the values are the kernel's stable ABI.
#pragma once

#include <linux/ioctl.h>

#include <cstdint>

namespace godwit::uapi {

// struct page_region
struct PageRegion {
  uint64_t start;
  uint64_t end;  // exclusive
  uint64_t categories;
};
static_assert(sizeof(PageRegion) == 24);

// struct pm_scan_arg
struct PagemapScanArgument {
  uint64_t size;
  uint64_t flags;
  uint64_t start;
  uint64_t end;
  uint64_t walk_end;  // out: where the walk stopped
  uint64_t vec;
  uint64_t vec_len;
  uint64_t max_pages;  // 0 = no limit
  uint64_t category_inverted;
  uint64_t category_mask;
  uint64_t category_anyof_mask;
  uint64_t return_mask;
};
static_assert(sizeof(PagemapScanArgument) == 96);

inline constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScanArgument);

inline constexpr uint64_t kPageIsWritten = 1U << 1;
inline constexpr uint64_t kPageIsPresent = 1U << 3;
inline constexpr uint64_t kPageIsSwapped = 1U << 4;
inline constexpr uint64_t kScanWriteProtectMatching = 1U << 0;    // PM_SCAN_WP_MATCHING
inline constexpr uint64_t kScanCheckWriteProtectAsync = 1U << 1;  // PM_SCAN_CHECK_WPASYNC

inline constexpr uint64_t kUserfaultfdFeatureWriteProtectUnpopulated = 1U << 13;
inline constexpr uint64_t kUserfaultfdFeatureWriteProtectAsync = 1U << 15;

}  // namespace godwit::uapi
