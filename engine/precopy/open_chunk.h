// SPDX-License-Identifier: Apache-2.0
//
// The chunk that a lane is at work on. The lane begins it bite by bite; a lane that has nothing
// else left may take over half of what is not begun yet. So a slow lane holds back no more of a
// round than it has on its way, and one bite.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>

#include "engine/base/check.h"
#include "engine/precopy/chunk_queue.h"

namespace godwit::precopy {

// Thread: open(), bite() and clear() by the lane; take_over() and left() from any.
class OpenChunk {
 public:
  // A part of a chunk; its pages are counted from the chunk's first.
  struct Part {
    ChunkIndex index;
    Turn turn;
    PageRun pages;
  };

  // Requires: there was nothing left.
  void open(const Part& part) { state_.store(encode(part), std::memory_order_relaxed); }
  void clear() { state_.store(0, std::memory_order_relaxed); }

  // What nobody has begun.
  Part left() const { return decode(state_.load(std::memory_order_relaxed)); }

  // The next `page_count` pages, or what is left of them. Nothing when nothing is.
  std::optional<Part> bite(uint64_t page_count) {
    return split([&](PageRun left) {
      const uint64_t count = std::min(page_count, left.page_count);
      return Split{.taken = {left.first_page, count},
                   .kept = {left.first_page + count, left.page_count - count}};
    });
  }

  // The last half, or a last page. Nothing where less than `page_count_min` pages are left.
  std::optional<Part> take_over(uint64_t page_count_min) {
    return split([&](PageRun left) {
      const uint64_t kept =
          left.page_count < page_count_min ? left.page_count : left.page_count / 2;
      return Split{.taken = {left.first_page + kept, left.page_count - kept},
                   .kept = {left.first_page, kept}};
    });
  }

 private:
  struct Split {
    PageRun taken;
    PageRun kept;
  };

  // All of it is in one word, so that whoever changes it knows that nobody else has. A chunk is
  // 4 MiB, or one page.
  static constexpr unsigned kPageBits = 16;
  static constexpr uint64_t kPageMask = (uint64_t{1} << kPageBits) - 1;

  static uint64_t encode(const Part& part) {
    DCHECK(part.pages.first_page + part.pages.page_count <= kPageMask);
    DCHECK(part.index >> 31 == 0);
    const uint64_t again = part.turn == Turn::kAgain ? 1 : 0;
    return (uint64_t{part.index} << 1 | again) << 2 * kPageBits |
           part.pages.first_page << kPageBits | part.pages.page_count;
  }
  static Part decode(uint64_t state) {
    return {.index = static_cast<ChunkIndex>(state >> (2 * kPageBits + 1)),
            .turn = (state >> 2 * kPageBits & 1) != 0 ? Turn::kAgain : Turn::kFirst,
            .pages = {state >> kPageBits & kPageMask, state & kPageMask}};
  }

  template <typename HowToSplit>
  std::optional<Part> split(HowToSplit how) {
    // SAFETY: relaxed is enough; what the word stands for was published with the round.
    uint64_t state = state_.load(std::memory_order_relaxed);
    while (true) {
      Part part = decode(state);
      const Split split = how(part.pages);
      if (split.taken.page_count == 0) return std::nullopt;
      part.pages = split.kept;
      if (!state_.compare_exchange_weak(state, encode(part), std::memory_order_relaxed)) continue;
      part.pages = split.taken;
      return part;
    }
  }

  std::atomic<uint64_t> state_{0};
};

}  // namespace godwit::precopy
