// SPDX-License-Identifier: Apache-2.0
//
// One bit per page of a guest RAM block, and the runs of set bits. All loops work on whole words.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace godwit {

// Pages [first_page, first_page + page_count) of one block.
struct PageRun {
  uint64_t first_page;
  uint64_t page_count;

  friend bool operator==(const PageRun&, const PageRun&) = default;
};

// Thread: not synchronised. Lanes read a bitmap that nobody writes.
class PageBitmap {
 public:
  explicit PageBitmap(uint64_t page_count);

  uint64_t page_count() const { return page_count_; }

  void set(uint64_t page);
  void set_run(PageRun run);
  void set_all();
  void clear(uint64_t page);
  void clear_run(PageRun run);
  void clear_all();
  bool test(uint64_t page) const;

  // Set operations with a bitmap of the same page count.
  void unite(const PageBitmap& other);      // this |= other
  void intersect(const PageBitmap& other);  // this &= other
  void subtract(const PageBitmap& other);   // this &= ~other

  uint64_t count() const;  // set bits
  uint64_t count_in(PageRun run) const;
  bool empty() const;

  // The first run of set bits that starts at or after `from` and before `end`, cut at `end`;
  // nothing when there is none.
  //   for (auto run = bitmap.next_run(0, end); run;
  //        run = bitmap.next_run(run->first_page + run->page_count, end))
  std::optional<PageRun> next_run(uint64_t from, uint64_t end) const;

  // Bit n of word n/64. Bits past page_count() are zero.
  std::span<const uint64_t> words() const { return words_; }

 private:
  uint64_t page_count_;
  std::vector<uint64_t> words_;
};

}  // namespace godwit
