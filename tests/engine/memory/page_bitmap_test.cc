// SPDX-License-Identifier: Apache-2.0
//
// The bitmap against the plainest model of it there is, a vector of bool, over seeded histories.
#include "engine/memory/page_bitmap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace godwit {
namespace {

class PageBitmapModel {
 public:
  explicit PageBitmapModel(uint64_t page_count) : pages_(page_count) {}

  void fill(PageRun run, bool value) {
    for (uint64_t i = 0; i < run.page_count; ++i) pages_[run.first_page + i] = value;
  }
  uint64_t count_in(PageRun run) const {
    const auto first = pages_.begin() + static_cast<ptrdiff_t>(run.first_page);
    return static_cast<uint64_t>(
        std::count(first, first + static_cast<ptrdiff_t>(run.page_count), true));
  }
  std::optional<PageRun> next_run(uint64_t from, uint64_t end) const {
    end = std::min<uint64_t>(end, pages_.size());
    while (from < end && !pages_[from]) ++from;
    uint64_t past = from;
    while (past < end && pages_[past]) ++past;
    if (past == from) return std::nullopt;
    return PageRun{from, past - from};
  }
  std::vector<bool>& pages() { return pages_; }
  const std::vector<bool>& pages() const { return pages_; }

 private:
  std::vector<bool> pages_;
};

class PageBitmapHistory : public testing::TestWithParam<uint64_t> {
 protected:
  std::mt19937_64 random_{GetParam()};

  uint64_t below(uint64_t limit) { return random_() % limit; }

  PageRun any_run(uint64_t page_count) {
    const uint64_t first = below(page_count + 1);
    return {first, below(page_count - first + 1)};
  }

  // Applies one random change to both.
  void change(PageBitmap& bitmap, PageBitmapModel& model) {
    const uint64_t pages = bitmap.page_count();
    const PageRun run = any_run(pages);
    const uint64_t page = below(pages);
    switch (below(6)) {
      case 0:
        bitmap.set(page), model.fill({page, 1}, true);
        break;
      case 1:
        bitmap.clear(page), model.fill({page, 1}, false);
        break;
      case 2:
        bitmap.set_run(run), model.fill(run, true);
        break;
      case 3:
        bitmap.clear_run(run), model.fill(run, false);
        break;
      case 4:
        if (below(10) == 0) bitmap.set_all(), model.fill({0, pages}, true);
        break;
      case 5:
        if (below(10) == 0) bitmap.clear_all(), model.fill({0, pages}, false);
        break;
    }
  }

  void expect_same(const PageBitmap& bitmap, const PageBitmapModel& model) {
    const uint64_t pages = bitmap.page_count();
    for (uint64_t page = 0; page < pages; ++page)
      ASSERT_EQ(bitmap.test(page), model.pages()[page]) << "page " << page << " of " << pages;
    ASSERT_EQ(bitmap.count(), model.count_in({0, pages}));
    ASSERT_EQ(bitmap.empty(), model.count_in({0, pages}) == 0);

    const PageRun part = any_run(pages);
    ASSERT_EQ(bitmap.count_in(part), model.count_in(part));
    const uint64_t from = below(pages + 2);
    const uint64_t end = below(pages + 70);
    ASSERT_EQ(bitmap.next_run(from, end), model.next_run(from, end)) << from << ".." << end;
    expect_tail_is_zero(bitmap);
  }

  static void expect_tail_is_zero(const PageBitmap& bitmap) {
    const uint64_t used = bitmap.page_count() % 64;
    if (used == 0) return;
    ASSERT_EQ(bitmap.words().back() >> used, 0U);
  }
};

TEST_P(PageBitmapHistory, AgreesWithAVectorOfBoolAfterEveryChange) {
  const uint64_t pages = 1 + below(400);
  PageBitmap bitmap(pages);
  PageBitmapModel model(pages);

  for (int step = 0; step < 300; ++step) {
    change(bitmap, model);
    ASSERT_NO_FATAL_FAILURE(expect_same(bitmap, model));
  }
}

TEST_P(PageBitmapHistory, CombinesWithAnotherBitmapLikeTheModel) {
  const uint64_t pages = 1 + below(400);
  PageBitmap bitmap(pages), other(pages);
  PageBitmapModel model(pages), other_model(pages);

  for (int step = 0; step < 150; ++step) {
    change(bitmap, model);
    change(other, other_model);
    const uint64_t operation = below(3);
    if (operation == 0) bitmap.unite(other);
    if (operation == 1) bitmap.intersect(other);
    if (operation == 2) bitmap.subtract(other);
    for (uint64_t page = 0; page < pages; ++page) {
      const bool mine = model.pages()[page];
      const bool theirs = other_model.pages()[page];
      model.pages()[page] = operation == 0   ? mine || theirs
                            : operation == 1 ? mine && theirs
                                             : mine && !theirs;
    }
    ASSERT_NO_FATAL_FAILURE(expect_same(bitmap, model));
  }
}

TEST_P(PageBitmapHistory, RunsCoverEachSetPageExactlyOnce) {
  const uint64_t pages = 1 + below(2000);
  PageBitmap bitmap(pages);
  PageBitmapModel model(pages);
  for (int step = 0; step < 100; ++step) change(bitmap, model);

  PageBitmapModel covered(pages);
  uint64_t runs_pages = 0;
  for (auto run = bitmap.next_run(0, pages); run;
       run = bitmap.next_run(run->first_page + run->page_count, pages)) {
    ASSERT_GT(run->page_count, 0U);
    covered.fill(*run, true);
    runs_pages += run->page_count;
  }

  EXPECT_EQ(covered.pages(), model.pages());
  EXPECT_EQ(runs_pages, bitmap.count());
}

INSTANTIATE_TEST_SUITE_P(Seeds, PageBitmapHistory, testing::Range<uint64_t>(1, 31));

TEST(PageBitmap, OfNoPagesIsEmptyAndHasNoRun) {
  PageBitmap bitmap(0);

  bitmap.set_all();

  EXPECT_TRUE(bitmap.empty());
  EXPECT_EQ(bitmap.count(), 0U);
  EXPECT_FALSE(bitmap.next_run(0, 100).has_value());
}

TEST(PageBitmap, RunIsCutAtTheEndThatWasAskedFor) {
  PageBitmap bitmap(300);
  bitmap.set_run({60, 140});

  EXPECT_EQ(bitmap.next_run(0, 300), (PageRun{60, 140}));
  EXPECT_EQ(bitmap.next_run(0, 128), (PageRun{60, 68}));
  EXPECT_EQ(bitmap.next_run(100, 101), (PageRun{100, 1}));
  EXPECT_FALSE(bitmap.next_run(0, 60).has_value());
}

TEST(PageBitmapDeathTest, RunBeyondTheEndIsABugOfOurs) {
  PageBitmap bitmap(100);

  EXPECT_DEATH(bitmap.set_run({99, 2}), "broken invariant");
  EXPECT_DEATH(bitmap.clear_run({~uint64_t{0}, 2}), "broken invariant");
}

}  // namespace
}  // namespace godwit
