// SPDX-License-Identifier: Apache-2.0
//
// Which pages of guest memory are still missing on the destination, and who is fetching them.
//
//   missing -> in flight -> received
//      ^__________|             a lane that is lost gives back what it had claimed
//
// A page is claimed by one fetcher before its content may be written, and is marked received when
// all of it lies in memory and before the guest can reach it. So it is written by one at a time,
// and never again once the guest may have changed it.
//
// What is received outlives the agent: those bits live in memory that the caller gives (a mapped
// file), in which an agent that died finds them again. What was in flight is missing then.
//
// Thread: any, all of it; lock-free. Pages are of their block's page size.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/memory/guest_memory.h"
#include "engine/memory/page_bitmap.h"

namespace godwit::postcopy {

enum class PageState : uint8_t { kMissing = 1, kInFlight = 2, kReceived = 3 };

// The bits of one block, 64 pages to a word, bit n of word n/64; bits past the last page are set.
using ReceivedWords = std::span<std::atomic<uint64_t>>;

inline constexpr uint64_t kPagesPerWord = 64;

// Words that a block of so many pages needs.
constexpr uint64_t received_words(uint64_t page_count) {
  return (page_count + kPagesPerWord - 1) / kPagesPerWord;
}

// Whether these are all the pages there are.
bool all_received(const std::vector<ReceivedWords>& blocks);

// What one fetcher has claimed, at most kPagesPerWord pages.
struct PageClaim {
  uint32_t block;
  PageRun pages;

  friend bool operator==(const PageClaim&, const PageClaim&) = default;
};

class PageLedger {
 public:
  // Takes the words as they are: what they say is received is received. Requires: one span per
  // block, of received_words() words, that outlives the ledger.
  PageLedger(const GuestMemory& memory, std::vector<ReceivedWords> received);

  // Says which pages are missing, whatever the words said before; all others are received.
  // Requires: nobody has claimed anything, and nobody else looks.
  void begin(const GuestPageSet& missing);

  PageState state(uint32_t block, uint64_t page) const;

  // Claims the first run of missing pages within `pages`. It does not cross a multiple of
  // kPagesPerWord, so it is one operation of a transport at most. Nothing when none is missing.
  std::optional<PageRun> claim(uint32_t block, PageRun pages);

  // The claimed pages lie in memory. Everything that was written to them before is visible to
  // whoever sees them received. Call it before they are installed.
  void mark_received(uint32_t block, PageRun pages);

  // The claimed pages will not come this way. Requires: what was to bring them will not write to
  // them any more.
  void give_back(uint32_t block, PageRun pages);

  // How often something was given back: who has looked for missing pages everywhere needs to look
  // again only when this has changed.
  uint64_t give_backs() const { return give_backs_.load(std::memory_order_acquire); }

  // The run of received pages around `page`, within the aligned `reach` pages that it lies in.
  // Requires: it is received.
  PageRun received_around(uint32_t block, uint64_t page, uint64_t reach) const;

  // The first page at or after `from` that is missing and not in flight, or nothing.
  std::optional<uint64_t> next_missing(uint32_t block, uint64_t from) const;

  // Not yet received, in flight or not.
  uint64_t outstanding_pages() const { return outstanding_pages_.load(std::memory_order_acquire); }
  uint64_t outstanding_bytes() const { return outstanding_bytes_.load(std::memory_order_acquire); }

 private:
  struct Block {
    ReceivedWords received;
    std::vector<std::atomic<uint64_t>> claimed;  // in flight or received
    uint64_t page_count;
    uint64_t page_size_bytes;
  };

  void take_as_received(Block& block);

  std::vector<Block> blocks_;
  std::atomic<uint64_t> outstanding_pages_{0};
  std::atomic<uint64_t> outstanding_bytes_{0};
  std::atomic<uint64_t> give_backs_{0};
};

}  // namespace godwit::postcopy
