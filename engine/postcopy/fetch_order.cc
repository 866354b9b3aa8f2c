// SPDX-License-Identifier: Apache-2.0
#include "engine/postcopy/fetch_order.h"

#include <algorithm>

#include "engine/base/units.h"

namespace godwit::postcopy {
namespace {

// Of pages that are 2 MiB or more each, some more at a time, as in read_ahead.cc.
constexpr uint64_t kRegionBytes = 2 * kMiB;
constexpr uint64_t kHugeRegionBytes = 16 * kMiB;

uint64_t pages_of_region(uint64_t page_size_bytes) {
  const uint64_t bytes = page_size_bytes < kRegionBytes ? kRegionBytes : kHugeRegionBytes;
  return std::max<uint64_t>(bytes / page_size_bytes, 1);
}

}  // namespace

FetchOrder::FetchOrder(const GuestMemory& memory) : read_ahead_(memory) {
  for (const GuestBlock& block : memory) {
    const uint64_t region_pages = pages_of_region(block.page_size_bytes);
    const uint64_t regions = (block.page_count() + region_pages - 1) / region_pages;
    blocks_.push_back({block.page_count(), region_pages, PageBitmap(regions)});
  }
}

void FetchOrder::note_fault(uint32_t block, uint64_t page) {
  std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return;
  read_ahead_.note_fault(block, page);
  Block& where = blocks_[block];
  const uint64_t region = page / where.region_pages;
  where.faulted.set(region);
  latest_ = {block, page, std::min((region + 1) * where.region_pages, where.page_count)};
}

std::optional<PageClaim> FetchOrder::next(PageLedger& ledger) {
  std::lock_guard lock(mutex_);
  if (auto claim = read_ahead_.next(ledger)) return claim;
  if (auto claim = next_near_faults(ledger)) return claim;
  return next_in_order(ledger);
}

std::optional<PageClaim> FetchOrder::next_near_faults(PageLedger& ledger) {
  if (auto claim = take(latest_, ledger)) return claim;
  for (uint32_t block = 0; block < blocks_.size(); ++block) {
    auto& [page_count, region_pages, faulted] = blocks_[block];
    while (const auto regions = faulted.next_run(0, faulted.page_count())) {
      const uint64_t first = regions->first_page * region_pages;
      Stretch region{block, first, std::min(first + region_pages, page_count)};
      if (auto claim = take(region, ledger)) return claim;
      // Something may still be given back: that is fetched in the order of all pages.
      faulted.clear(regions->first_page);
    }
  }
  return std::nullopt;
}

std::optional<PageClaim> FetchOrder::take(Stretch& stretch, PageLedger& ledger) {
  if (stretch.next == stretch.end) return std::nullopt;
  const auto claimed = ledger.claim(stretch.block, {stretch.next, stretch.end - stretch.next});
  stretch.next = claimed ? claimed->first_page + claimed->page_count : stretch.end;
  if (!claimed) return std::nullopt;
  return PageClaim{stretch.block, *claimed};
}

std::optional<PageClaim> FetchOrder::next_in_order(PageLedger& ledger) {
  while (true) {
    for (auto& [block, page] = cursor_; block < blocks_.size(); ++block, page = 0) {
      while (const auto missing = ledger.next_missing(block, page)) {
        page = *missing;
        const uint64_t reach = std::min(kPagesPerWord, blocks_[block].page_count - page);
        // Without success somebody else was faster: there may be more behind it.
        const std::optional<PageRun> claimed = ledger.claim(block, {page, reach});
        if (!claimed) continue;
        page = claimed->first_page + claimed->page_count;
        return PageClaim{block, *claimed};
      }
    }
    // The count is read before the pass that it stands for: what is given back later changes it.
    const uint64_t give_backs = ledger.give_backs();
    if (give_backs == give_backs_seen_) return std::nullopt;
    give_backs_seen_ = give_backs;
    cursor_ = {};
  }
}

}  // namespace godwit::postcopy
