// SPDX-License-Identifier: Apache-2.0
#include "engine/postcopy/fetch_order.h"

#include <algorithm>

namespace godwit::postcopy {

FetchOrder::FetchOrder(const GuestMemory& memory) : read_ahead_(memory) {
  for (const GuestBlock& block : memory) page_counts_.push_back(block.page_count());
}

void FetchOrder::note_fault(uint32_t block, uint64_t page) {
  std::lock_guard lock(mutex_);
  read_ahead_.note_fault(block, page);
}

std::optional<PageClaim> FetchOrder::next(PageLedger& ledger) {
  std::lock_guard lock(mutex_);
  if (auto claim = read_ahead_.next(ledger)) return claim;
  return next_in_order(ledger);
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
