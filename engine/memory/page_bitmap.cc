// SPDX-License-Identifier: Apache-2.0
//
// A run of pages is, word by word, at most one partial word at each end and whole words between.
// Every operation on runs goes through for_each_word(), which says so once.
//
// Invariant: bits past page_count_ are zero, so that counting and searching need no special last
// word.
#include "engine/memory/page_bitmap.h"

#include <algorithm>
#include <bit>

#include "engine/base/check.h"

namespace godwit {
namespace {

constexpr uint64_t kWordBits = 64;
constexpr uint64_t kAllOnes = ~uint64_t{0};

uint64_t bit(uint64_t page) {
  return uint64_t{1} << (page % kWordBits);
}

// Calls `visit(word_index, mask)` for every word that [first, end) touches; mask has the bits of
// the run in that word.
template <typename Visit>
void for_each_word(uint64_t first, uint64_t end, Visit visit) {
  if (first >= end) return;

  const uint64_t first_word = first / kWordBits;
  const uint64_t last_word = (end - 1) / kWordBits;
  const uint64_t first_mask = kAllOnes << (first % kWordBits);
  const uint64_t last_mask = kAllOnes >> (kWordBits - 1 - (end - 1) % kWordBits);
  if (first_word == last_word) {
    visit(first_word, first_mask & last_mask);
    return;
  }
  visit(first_word, first_mask);
  for (uint64_t word = first_word + 1; word < last_word; ++word) visit(word, kAllOnes);
  visit(last_word, last_mask);
}

// The first page in [from, end) whose bit, after XOR with `invert`, is set; `end` when there is
// none. invert = 0 looks for set bits, all ones for clear ones.
uint64_t find_bit(std::span<const uint64_t> words, uint64_t from, uint64_t end, uint64_t invert) {
  if (from >= end) return end;

  uint64_t index = from / kWordBits;
  const uint64_t last = (end - 1) / kWordBits;
  uint64_t word = (words[index] ^ invert) & (kAllOnes << (from % kWordBits));
  while (word == 0) {
    if (index == last) return end;
    word = words[++index] ^ invert;
  }
  const uint64_t page = index * kWordBits + static_cast<uint64_t>(std::countr_zero(word));
  return std::min(page, end);
}

}  // namespace

PageBitmap::PageBitmap(uint64_t page_count)
    : page_count_(page_count), words_((page_count + kWordBits - 1) / kWordBits) {}

void PageBitmap::set(uint64_t page) {
  DCHECK(page < page_count_);
  words_[page / kWordBits] |= bit(page);
}

void PageBitmap::set_run(PageRun run) {
  CHECK(run.first_page <= page_count_ && run.page_count <= page_count_ - run.first_page);
  for_each_word(run.first_page, run.first_page + run.page_count,
                [this](uint64_t word, uint64_t mask) { words_[word] |= mask; });
}

void PageBitmap::set_all() {
  set_run({0, page_count_});
}

void PageBitmap::clear(uint64_t page) {
  DCHECK(page < page_count_);
  words_[page / kWordBits] &= ~bit(page);
}

void PageBitmap::clear_run(PageRun run) {
  CHECK(run.first_page <= page_count_ && run.page_count <= page_count_ - run.first_page);
  for_each_word(run.first_page, run.first_page + run.page_count,
                [this](uint64_t word, uint64_t mask) { words_[word] &= ~mask; });
}

void PageBitmap::clear_all() {
  std::fill(words_.begin(), words_.end(), 0);
}

bool PageBitmap::test(uint64_t page) const {
  DCHECK(page < page_count_);
  return (words_[page / kWordBits] & bit(page)) != 0;
}

void PageBitmap::unite(const PageBitmap& other) {
  CHECK(page_count_ == other.page_count_);
  for (size_t word = 0; word < words_.size(); ++word) words_[word] |= other.words_[word];
}

void PageBitmap::intersect(const PageBitmap& other) {
  CHECK(page_count_ == other.page_count_);
  for (size_t word = 0; word < words_.size(); ++word) words_[word] &= other.words_[word];
}

void PageBitmap::subtract(const PageBitmap& other) {
  CHECK(page_count_ == other.page_count_);
  for (size_t word = 0; word < words_.size(); ++word) words_[word] &= ~other.words_[word];
}

uint64_t PageBitmap::count() const {
  uint64_t pages = 0;
  for (uint64_t word : words_) pages += static_cast<uint64_t>(std::popcount(word));
  return pages;
}

uint64_t PageBitmap::count_in(PageRun run) const {
  CHECK(run.first_page <= page_count_ && run.page_count <= page_count_ - run.first_page);
  uint64_t pages = 0;
  for_each_word(run.first_page, run.first_page + run.page_count,
                [this, &pages](uint64_t word, uint64_t mask) {
                  pages += static_cast<uint64_t>(std::popcount(words_[word] & mask));
                });
  return pages;
}

bool PageBitmap::empty() const {
  return std::all_of(words_.begin(), words_.end(), [](uint64_t word) { return word == 0; });
}

std::optional<PageRun> PageBitmap::next_run(uint64_t from, uint64_t end) const {
  end = std::min(end, page_count_);
  const uint64_t first = find_bit(words_, from, end, 0);
  if (first >= end) return std::nullopt;

  const uint64_t past = find_bit(words_, first, end, kAllOnes);
  return PageRun{first, past - first};
}

}  // namespace godwit
