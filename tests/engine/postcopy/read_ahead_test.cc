// SPDX-License-Identifier: Apache-2.0
#include "engine/postcopy/read_ahead.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "engine/base/units.h"
#include "tests/engine/postcopy/pages.h"

namespace godwit::postcopy {
namespace {

constexpr uint64_t kPages = 100'000;

// A guest's faults, as the agent sees them, and what is read ahead between them.
class ReadAheadTest : public testing::Test {
 protected:
  // The guest touches the page: nothing happens where it has been received already.
  void touch(uint64_t page, uint32_t block = 0) {
    if (ledger_.state(block, page) == PageState::kReceived) return;
    ++faults_;
    read_ahead_.note_fault(block, page);
    if (ledger_.claim(block, {page, 1})) ledger_.mark_received(block, {page, 1});
  }

  // All that is read ahead now, in the order in which it is fetched.
  std::vector<uint64_t> fetch(uint32_t block = 0) {
    std::vector<uint64_t> pages;
    while (const auto claim = read_ahead_.next(ledger_)) {
      EXPECT_EQ(claim->block, block);
      for (uint64_t i = 0; i < claim->pages.page_count; ++i) {
        pages.push_back(claim->pages.first_page + i);
      }
      ledger_.mark_received(claim->block, claim->pages);
    }
    return pages;
  }

  static std::vector<uint64_t> range(uint64_t first, uint64_t count) {
    std::vector<uint64_t> pages(count);
    for (uint64_t i = 0; i < count; ++i) pages[i] = first + i;
    return pages;
  }

  test::Pages pages_;
  PageLedger ledger_{pages_.add(kPages).add(40, 2 * kMiB).memory(), pages_.received()};
  ReadAhead read_ahead_{pages_.memory()};
  int faults_ = 0;
};

TEST_F(ReadAheadTest, ReadsNothingBeforeTheFirstFault) {
  EXPECT_TRUE(fetch().empty());
}

TEST_F(ReadAheadTest, ReadsNothingForASingleFault) {
  touch(1000);

  EXPECT_TRUE(fetch().empty());
}

TEST_F(ReadAheadTest, DoublesFrom16PagesTo2MiBForASequentialReader) {
  touch(1000);
  uint64_t page = 1001;
  for (uint64_t window : {16, 32, 64, 128, 256, 512, 512}) {
    touch(page);
    EXPECT_EQ(fetch(), range(page + 1, window));
    page += window + 1;
  }
}

TEST_F(ReadAheadTest, LeavesASequentialReaderFewFaults) {
  for (uint64_t page = 0; page < kPages; ++page) {
    touch(page);
    fetch();
  }

  EXPECT_LT(faults_, 210);  // 100,000 / 513, and the way up
}

TEST_F(ReadAheadTest, ReadsBackwardFromTheThirdFault) {
  touch(5000);
  touch(4999);
  touch(4998);

  std::vector<uint64_t> pages = fetch();
  std::sort(pages.begin(), pages.end());

  EXPECT_EQ(pages, range(4990, 8));
}

TEST_F(ReadAheadTest, LeavesABackwardReaderFewFaults) {
  for (uint64_t page = kPages; page-- > 0;) {
    touch(page);
    fetch();
  }

  EXPECT_LT(faults_, 220);
  EXPECT_EQ(ledger_.state(0, 0), PageState::kReceived);
}

TEST_F(ReadAheadTest, FollowsAStrideAndNothingBetween) {
  for (uint64_t page : {1000, 1100, 1200}) {
    touch(page);
    if (page < 1200) fetch();
  }
  EXPECT_EQ(fetch(), (std::vector<uint64_t>{1300, 1400, 1500, 1600, 1700, 1800, 1900, 2000}));

  touch(2100);
  const std::vector<uint64_t> pages = fetch();

  ASSERT_EQ(pages.size(), 16U);
  EXPECT_EQ(pages.front(), 2200U);
  EXPECT_EQ(pages.back(), 3700U);
}

TEST_F(ReadAheadTest, FollowsAStrideBackward) {
  for (uint64_t page : {90'000, 89'000, 88'000}) {
    touch(page);
    if (page > 88'000) fetch();
  }

  EXPECT_EQ(fetch(), (std::vector<uint64_t>{87'000, 86'000, 85'000, 84'000, 83'000, 82'000, 81'000,
                                            80'000}));
}

TEST_F(ReadAheadTest, KeepsSeveralStreamsApart) {
  for (uint64_t step = 0; step < 10'000; ++step) {
    touch(step);
    touch(20'000 + step);
    touch(49'999 - step);
    touch(60'000 + (step * 100) % 40'000);
    fetch();
  }

  // 400 of the strided ones are different pages.
  EXPECT_LT(faults_, 3 * 30 + 400 / 4);
}

TEST_F(ReadAheadTest, KeepsASequentialReaderAmongRandomFaults) {
  std::mt19937_64 random(1);
  int sequential_faults = 0;
  for (uint64_t page = 0; page < 20'000; ++page) {
    faults_ = 0;
    touch(page);
    sequential_faults += faults_;
    touch(40'000 + random() % 60'000);
    fetch();
  }

  EXPECT_LT(sequential_faults, 60);  // 20,000 / 513, and the way up
}

TEST_F(ReadAheadTest, ReadsNextToNothingForRandomFaults) {
  std::mt19937_64 random(7);
  size_t pages = 0;
  for (int i = 0; i < 1000; ++i) {
    touch(random() % kPages);
    pages += fetch().size();
  }

  EXPECT_LE(pages, 1000U);
}

TEST_F(ReadAheadTest, CollapsesWhenTheGuestLeavesTheStride) {
  for (uint64_t page : {1000, 1100, 1200, 2100}) {
    touch(page);
    fetch();
  }
  touch(3800);  // 32 strides ahead from here

  touch(3850);

  std::vector<uint64_t> pages;
  for (uint64_t page = 3900; page <= 4600; page += 100) pages.push_back(page);
  EXPECT_EQ(fetch(), pages);
  // Too far ahead for what is left of that stream: a new one begins.
  touch(7100);
  EXPECT_TRUE(fetch().empty());
  touch(7101);
  EXPECT_EQ(fetch(), range(7102, 16));
}

TEST_F(ReadAheadTest, ServesTheLatestFaultFirst) {
  for (uint64_t page : {1000, 1001, 50'000, 50'001, 7000, 7001}) touch(page);

  const auto claim = read_ahead_.next(ledger_);

  ASSERT_TRUE(claim);
  EXPECT_EQ(*claim, (PageClaim{0, {7002, 16}}));
}

TEST_F(ReadAheadTest, PassesOverWhatIsThereOrOnItsWay) {
  ASSERT_TRUE(ledger_.claim(0, {1002, 2}));
  ASSERT_TRUE(ledger_.claim(0, {1005, 1}));
  ledger_.mark_received(0, {1005, 1});
  touch(1000);
  touch(1001);

  std::vector<uint64_t> pages = range(1006, 12);
  pages.insert(pages.begin(), 1004);
  EXPECT_EQ(fetch(), pages);
}

TEST_F(ReadAheadTest, StopsAtTheBlocksEnds) {
  touch(kPages - 5);
  touch(kPages - 4);
  EXPECT_EQ(fetch(), range(kPages - 3, 3));
  for (uint64_t page : {5, 4, 3}) touch(page);

  const std::vector<uint64_t> pages = fetch();

  EXPECT_EQ(std::count_if(pages.begin(), pages.end(), [](uint64_t page) { return page < 3; }), 3);
  EXPECT_LT(*std::max_element(pages.begin(), pages.end()), 100U);
}

TEST_F(ReadAheadTest, TakesTheSameFaultTwiceForOne) {
  touch(1000);
  read_ahead_.note_fault(0, 1000);
  read_ahead_.note_fault(0, 1000);

  EXPECT_TRUE(fetch().empty());
}

TEST_F(ReadAheadTest, ReadsHugePagesAheadFromTwoToEight) {
  touch(1, 1);
  uint64_t page = 2;
  for (uint64_t window : {2, 4, 8, 8}) {
    touch(page, 1);
    EXPECT_EQ(fetch(1), range(page + 1, window));
    page += window + 1;
  }
}

}  // namespace
}  // namespace godwit::postcopy
