// SPDX-License-Identifier: Apache-2.0
#include "engine/postcopy/fetch_order.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"

namespace godwit::postcopy {

FetchOrder::FetchOrder(const GuestMemory& memory) : read_ahead_(memory) {
  for (const GuestBlock& block : memory) page_counts_.push_back(block.page_count());
}

void FetchOrder::prefer(GuestPageSet hot) {
  std::lock_guard lock(mutex_);
  CHECK(hot.size() == page_counts_.size());
  hot_ = std::move(hot);
  hot_cursor_ = {};
}

void FetchOrder::note_fault(uint32_t block, uint64_t page) {
  std::lock_guard lock(mutex_);
  read_ahead_.note_fault(block, page);
}

std::optional<PageClaim> FetchOrder::next(PageLedger& ledger) {
  std::lock_guard lock(mutex_);
  if (auto claim = read_ahead_.next(ledger)) return claim;
  if (auto claim = next_hot(ledger)) return claim;
  return next_in_order(ledger);
}

std::optional<PageClaim> FetchOrder::next_hot(PageLedger& ledger) {
  for (auto& [block, page] = hot_cursor_; block < hot_.size(); ++block, page = 0) {
    const PageBitmap& pages = hot_[block];
    while (const auto run = pages.next_run(page, pages.page_count())) {
      const std::optional<PageRun> claimed = ledger.claim(block, *run);
      const PageRun& passed = claimed ? *claimed : *run;
      page = passed.first_page + passed.page_count;
      if (claimed) return PageClaim{block, *claimed};
    }
  }
  return std::nullopt;
}

std::optional<PageClaim> FetchOrder::next_in_order(PageLedger& ledger) {
  while (true) {
    for (auto& [block, page] = cursor_; block < page_counts_.size(); ++block, page = 0) {
      while (const auto missing = ledger.next_missing(block, page)) {
        page = *missing;
        const uint64_t reach = std::min(kPagesPerWord, page_counts_[block] - page);
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
