// SPDX-License-Identifier: Apache-2.0
//
// Which pages have been written at the destination by any of several lanes: what becomes zero later
// has to be cleared there.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "engine/base/units.h"
#include "engine/memory/page_bitmap.h"

namespace godwit::relay {

// Thread: any. Who asks for a page sees what was said of it before the two met last.
class PlacedPages {
 public:
  void add_block(uint64_t size_bytes) {
    blocks_.emplace_back((size_bytes / kBasePageBytes + kPagesOfWord - 1) / kPagesOfWord);
  }

  // Requires: the run lies in the block.
  void set(uint32_t block, PageRun run) {
    const uint64_t end = run.first_page + run.page_count;
    for (uint64_t page = run.first_page; page < end;) {
      const uint64_t bit = page % kPagesOfWord;
      const uint64_t pages = std::min(end - page, kPagesOfWord - bit);
      const uint64_t mask = (~uint64_t{0} >> (kPagesOfWord - pages)) << bit;
      // SAFETY: relaxed: the lanes and who asks meet at a lock between.
      blocks_[block][page / kPagesOfWord].fetch_or(mask, std::memory_order_relaxed);
      page += pages;
    }
  }
  bool test(uint32_t block, uint64_t page) const {
    const uint64_t word = blocks_[block][page / kPagesOfWord].load(std::memory_order_relaxed);
    return (word >> (page % kPagesOfWord) & 1) != 0;
  }

 private:
  static constexpr uint64_t kPagesOfWord = 64;
  std::vector<std::vector<std::atomic<uint64_t>>> blocks_;
};

}  // namespace godwit::relay
