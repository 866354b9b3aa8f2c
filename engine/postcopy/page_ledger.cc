// SPDX-License-Identifier: Apache-2.0
//
// Two words say everything about 64 pages: `claimed` (in flight or received) and `received`.
//
//              claimed  received
//   missing       0        0
//   in flight     1        0
//   received      1        1
//
// A received page stays claimed for good. So who wants to claim has to look at one word only, and
// one compare-and-swap decides; were the claim taken back on arrival, another thread could read
// "not received" before and "not claimed" after it, and fetch over what the guest has written
// since.
//
// Memory order, page by page:
//   give_back() releases, claim() acquires: a lane that failed had let go of the page before the
//     next one writes to it.
//   mark_received() releases, state() and received_around() acquire: who sees it received sees its
//     content.
//   the counts are lowered after that, with release: who reads 0 sees all content.
#include "engine/postcopy/page_ledger.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "engine/base/check.h"

namespace godwit::postcopy {
namespace {

constexpr uint64_t kAllOnes = ~uint64_t{0};

uint64_t bit(uint64_t page) {
  return uint64_t{1} << (page % kPagesPerWord);
}

// The bits of pages [first, end) in the word that `first` is in.
uint64_t bits_from(uint64_t first, uint64_t end) {
  const uint64_t in_word = std::min(end - first, kPagesPerWord - first % kPagesPerWord);
  return (kAllOnes >> (kPagesPerWord - in_word)) << (first % kPagesPerWord);
}

// Where the next word starts.
uint64_t next_word(uint64_t page) {
  return (page / kPagesPerWord + 1) * kPagesPerWord;
}

// Calls `visit(word_index, bits)` for every word that the run touches.
template <typename Visit>
void for_each_word(PageRun pages, Visit visit) {
  const uint64_t end = pages.first_page + pages.page_count;
  for (uint64_t page = pages.first_page; page < end; page = next_word(page)) {
    visit(page / kPagesPerWord, bits_from(page, end));
  }
}

// The first run of set bits.
uint64_t first_run(uint64_t bits) {
  const int first = std::countr_zero(bits);
  const int length = std::countr_one(bits >> first);
  return (kAllOnes >> (kPagesPerWord - static_cast<uint64_t>(length))) << first;
}

bool inside(PageRun pages, uint64_t page_count) {
  return pages.first_page <= page_count && pages.page_count <= page_count - pages.first_page;
}

}  // namespace

bool all_received(const std::vector<ReceivedWords>& blocks) {
  for (const ReceivedWords& words : blocks) {
    for (const auto& word : words) {
      if (~word.load(std::memory_order_relaxed) != 0) return false;
    }
  }
  return true;
}

PageLedger::PageLedger(const GuestMemory& memory, std::vector<ReceivedWords> received) {
  CHECK(received.size() == memory.size());
  blocks_.reserve(memory.size());
  for (size_t index = 0; index < memory.size(); ++index) {
    const uint64_t page_count = memory[index].page_count();
    CHECK(received[index].size() == received_words(page_count));
    Block block{received[index], {}, page_count, memory[index].page_size_bytes};
    if (page_count % kPagesPerWord != 0) {
      block.received.back().fetch_or(
          ~bits_from(page_count - page_count % kPagesPerWord, page_count),
          std::memory_order_relaxed);
    }
    block.claimed = std::vector<std::atomic<uint64_t>>(block.received.size());
    take_as_received(block);
    blocks_.push_back(std::move(block));
  }
}

// Claims what is received, no more and no less, and counts the rest as outstanding.
void PageLedger::take_as_received(Block& block) {
  uint64_t outstanding = 0;
  for (size_t word = 0; word < block.claimed.size(); ++word) {
    const uint64_t bits = block.received[word].load(std::memory_order_acquire);
    block.claimed[word].store(bits, std::memory_order_relaxed);
    outstanding += static_cast<uint64_t>(std::popcount(~bits));
  }
  outstanding_pages_.fetch_add(outstanding, std::memory_order_relaxed);
  outstanding_bytes_.fetch_add(outstanding * block.page_size_bytes, std::memory_order_relaxed);
}

void PageLedger::begin(const GuestPageSet& missing) {
  CHECK(missing.size() == blocks_.size());
  outstanding_pages_.store(0, std::memory_order_relaxed);
  outstanding_bytes_.store(0, std::memory_order_relaxed);
  for (size_t index = 0; index < blocks_.size(); ++index) {
    Block& block = blocks_[index];
    const std::span<const uint64_t> words = missing[index].words();
    CHECK(missing[index].page_count() == block.page_count);
    // A bitmap's bits past the last page are clear, hence received here.
    for (size_t word = 0; word < words.size(); ++word) {
      block.received[word].store(~words[word], std::memory_order_release);
    }
    take_as_received(block);
  }
}

PageState PageLedger::state(uint32_t block, uint64_t page) const {
  const Block& here = blocks_[block];
  DCHECK(page < here.page_count);
  const uint64_t word = page / kPagesPerWord;
  if ((here.received[word].load(std::memory_order_acquire) & bit(page)) != 0) {
    return PageState::kReceived;
  }
  const bool claimed = (here.claimed[word].load(std::memory_order_acquire) & bit(page)) != 0;
  return claimed ? PageState::kInFlight : PageState::kMissing;
}

std::optional<PageRun> PageLedger::claim(uint32_t block, PageRun pages) {
  Block& here = blocks_[block];
  DCHECK(inside(pages, here.page_count));
  const uint64_t end = pages.first_page + pages.page_count;
  for (uint64_t page = pages.first_page; page < end; page = next_word(page)) {
    const uint64_t wanted = bits_from(page, end);
    std::atomic<uint64_t>& word = here.claimed[page / kPagesPerWord];
    uint64_t claimed = word.load(std::memory_order_relaxed);
    while ((wanted & ~claimed) != 0) {
      const uint64_t run = first_run(wanted & ~claimed);
      // SAFETY: acquire pairs with give_back(); a failed attempt only looks again.
      if (word.compare_exchange_weak(claimed, claimed | run, std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
        return PageRun{
            page / kPagesPerWord * kPagesPerWord + static_cast<uint64_t>(std::countr_zero(run)),
            static_cast<uint64_t>(std::popcount(run))};
      }
    }
  }
  return std::nullopt;
}

void PageLedger::mark_received(uint32_t block, PageRun pages) {
  Block& here = blocks_[block];
  CHECK(inside(pages, here.page_count));
  for_each_word(pages, [&here](uint64_t word, uint64_t bits) {
    CHECK((here.claimed[word].load(std::memory_order_relaxed) & bits) == bits);
    const uint64_t before = here.received[word].fetch_or(bits, std::memory_order_release);
    CHECK((before & bits) == 0);
  });
  // SAFETY: every lowering is a read-modify-write with release, so whoever acquires the last sees
  // what came before each of them.
  outstanding_pages_.fetch_sub(pages.page_count, std::memory_order_release);
  outstanding_bytes_.fetch_sub(pages.page_count * here.page_size_bytes, std::memory_order_release);
}

void PageLedger::give_back(uint32_t block, PageRun pages) {
  Block& here = blocks_[block];
  CHECK(inside(pages, here.page_count));
  for_each_word(pages, [&here](uint64_t word, uint64_t bits) {
    CHECK((here.received[word].load(std::memory_order_relaxed) & bits) == 0);
    const uint64_t before = here.claimed[word].fetch_and(~bits, std::memory_order_release);
    CHECK((before & bits) == bits);
  });
  // SAFETY: after the bits, with release: who sees the new count finds the pages missing.
  give_backs_.fetch_add(1, std::memory_order_release);
}

PageRun PageLedger::received_around(uint32_t block, uint64_t page, uint64_t reach) const {
  const Block& here = blocks_[block];
  DCHECK(page < here.page_count && reach > 0);
  const uint64_t low = page - page % reach;
  const uint64_t high = low + std::min(reach, here.page_count - low);
  auto received = [&here](uint64_t word) {
    return here.received[word].load(std::memory_order_acquire);
  };

  // From `page` up to the first that is not received.
  uint64_t past = page;
  while (past < high) {
    const uint64_t from = past % kPagesPerWord;
    const uint64_t length =
        static_cast<uint64_t>(std::countr_one(received(past / kPagesPerWord) >> from));
    past += length;
    if (length < kPagesPerWord - from) break;
  }
  // And down, in the same way from the other end of each word.
  uint64_t first = page;
  while (first > low) {
    const uint64_t below = (first - 1) % kPagesPerWord;
    const uint64_t length = static_cast<uint64_t>(
        std::countl_one(received((first - 1) / kPagesPerWord) << (kPagesPerWord - 1 - below)));
    first -= length;
    if (length < below + 1) break;
  }
  first = std::max(first, low);
  return {first, std::min(past, high) - first};
}

std::optional<uint64_t> PageLedger::next_missing(uint32_t block, uint64_t from) const {
  const Block& here = blocks_[block];
  for (uint64_t page = from; page < here.page_count; page = next_word(page)) {
    const uint64_t missing = ~here.claimed[page / kPagesPerWord].load(std::memory_order_relaxed) &
                             bits_from(page, here.page_count);
    if (missing != 0) {
      return page / kPagesPerWord * kPagesPerWord +
             static_cast<uint64_t>(std::countr_zero(missing));
    }
  }
  return std::nullopt;
}

}  // namespace godwit::postcopy
