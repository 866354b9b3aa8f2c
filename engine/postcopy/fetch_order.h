// SPDX-License-Identifier: Apache-2.0
//
// What the background fetches next.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/postcopy/page_ledger.h"

namespace godwit::postcopy {

struct PageClaim {
  uint32_t block;
  PageRun pages;
};

class FetchOrder {
 public:
  explicit FetchOrder(const GuestMemory& memory) : memory_(memory), next_(memory.size(), 0) {}

  void note_fault(uint32_t block, uint64_t page) {
    std::lock_guard lock(mutex_);
    near_ = {block, {page, 64}};
  }

  std::optional<PageClaim> next(PageLedger& ledger) {
    std::lock_guard lock(mutex_);
    if (near_) {
      const uint64_t count = memory_[near_->block].page_count();
      PageRun run = near_->pages;
      run.page_count = std::min(run.page_count, count - run.first_page);
      const auto claimed = ledger.claim(near_->block, run);
      if (claimed) return PageClaim{near_->block, *claimed};
      near_.reset();
    }
    for (int pass = 0; pass < 2; ++pass) {
      for (uint32_t block = 0; block < memory_.size(); ++block) {
        while (const auto page = ledger.next_missing(block, next_[block])) {
          next_[block] = *page;
          const uint64_t count = memory_[block].page_count();
          const auto claimed = ledger.claim(block, {*page, std::min<uint64_t>(64, count - *page)});
          if (claimed) return PageClaim{block, *claimed};
        }
      }
      if (ledger.outstanding_pages() == 0) break;
      std::fill(next_.begin(), next_.end(), 0);
    }
    return std::nullopt;
  }

 private:
  const GuestMemory& memory_;
  std::mutex mutex_;
  std::optional<PageClaim> near_;
  std::vector<uint64_t> next_;
};

}  // namespace godwit::postcopy
