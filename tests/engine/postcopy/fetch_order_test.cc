// SPDX-License-Identifier: Apache-2.0
#include "engine/postcopy/fetch_order.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "engine/base/units.h"
#include "tests/engine/postcopy/pages.h"

namespace godwit::postcopy {
namespace {

using Claim = std::optional<PageClaim>;

class FetchOrderTest : public testing::Test {
 protected:
  test::Pages pages_;
  PageLedger ledger_{pages_.add(200).add(5, 2 * kMiB).memory(), pages_.received()};
};

TEST_F(FetchOrderTest, GoesThroughAllBlocksInOrder) {
  FetchOrder order(pages_.memory());

  EXPECT_EQ(order.next(ledger_), Claim({0, {0, 64}}));
  EXPECT_EQ(order.next(ledger_), Claim({0, {64, 64}}));
  EXPECT_EQ(order.next(ledger_), Claim({0, {128, 64}}));
  EXPECT_EQ(order.next(ledger_), Claim({0, {192, 8}}));
  EXPECT_EQ(order.next(ledger_), Claim({1, {0, 5}}));
  EXPECT_EQ(order.next(ledger_), std::nullopt);
}

TEST_F(FetchOrderTest, HandsOutOnlyWhatIsMissing) {
  GuestPageSet missing = empty_page_set(pages_.memory());
  missing[0].set_run({60, 10});
  missing[1].set(3);
  ledger_.begin(missing);
  FetchOrder order(pages_.memory());

  EXPECT_EQ(order.next(ledger_), Claim({0, {60, 4}}));
  EXPECT_EQ(order.next(ledger_), Claim({0, {64, 6}}));
  EXPECT_EQ(order.next(ledger_), Claim({1, {3, 1}}));
  EXPECT_EQ(order.next(ledger_), std::nullopt);
}

// A guest with 2 MiB regions of 512 pages.
class FetchOrderNearFaultsTest : public testing::Test {
 protected:
  void fault(uint32_t block, uint64_t page) {
    order_.note_fault(block, page);
    ASSERT_TRUE(ledger_.claim(block, {page, 1}));
  }

  test::Pages pages_;
  PageLedger ledger_{pages_.add(2000).add(20, 2 * kMiB).memory(), pages_.received()};
  FetchOrder order_{pages_.memory()};
};

TEST_F(FetchOrderNearFaultsTest, FetchesTheRegionOfAFaultFromThereOn) {
  fault(0, 900);

  EXPECT_EQ(order_.next(ledger_), Claim({0, {901, 59}}));
  EXPECT_EQ(order_.next(ledger_), Claim({0, {960, 64}}));
  EXPECT_EQ(order_.next(ledger_), Claim({0, {512, 64}}));
  for (uint64_t first = 576; first < 896; first += 64)
    EXPECT_EQ(order_.next(ledger_), Claim({0, {first, 64}}));
  EXPECT_EQ(order_.next(ledger_), Claim({0, {896, 4}}));
  EXPECT_EQ(order_.next(ledger_), Claim({0, {0, 64}}));
}

TEST_F(FetchOrderNearFaultsTest, FetchesAroundTheLatestFaultFirst) {
  fault(0, 1000);
  fault(0, 1900);
  EXPECT_EQ(order_.next(ledger_), Claim({0, {1901, 19}}));
  fault(0, 100);

  EXPECT_EQ(order_.next(ledger_), Claim({0, {101, 27}}));
}

TEST_F(FetchOrderNearFaultsTest, FetchesAllRegionsWithFaultsBeforeTheRest) {
  fault(0, 1023);
  fault(0, 1999);

  std::vector<bool> fetched(2000);
  for (uint64_t pages = 0; pages < 512 + 464 - 2;) {
    const Claim claim = order_.next(ledger_);
    ASSERT_TRUE(claim);
    EXPECT_TRUE((claim->pages.first_page >= 512 && claim->pages.first_page < 1023) ||
                claim->pages.first_page >= 1536);
    pages += claim->pages.page_count;
  }
  EXPECT_EQ(order_.next(ledger_), Claim({0, {0, 64}}));
}

TEST_F(FetchOrderNearFaultsTest, FetchesHugePagesEightAtATime) {
  fault(1, 9);

  EXPECT_EQ(order_.next(ledger_), Claim({1, {10, 6}}));
  EXPECT_EQ(order_.next(ledger_), Claim({1, {8, 1}}));
  EXPECT_EQ(order_.next(ledger_), Claim({0, {0, 64}}));
}

TEST_F(FetchOrderNearFaultsTest, ReadsAheadOfAGuestThatReadsInOrder) {
  fault(0, 1000);
  fault(0, 1001);
  fault(0, 1003);
  EXPECT_EQ(order_.next(ledger_), Claim({0, {1004, 20}}));
  fault(0, 100);

  // Beyond the region's end.
  EXPECT_EQ(order_.next(ledger_), Claim({0, {1024, 12}}));
}

TEST_F(FetchOrderTest, HandsOutAgainWhatWasGivenBack) {
  FetchOrder order(pages_.memory());
  while (order.next(ledger_)) {
  }

  ledger_.give_back(0, {10, 3});
  EXPECT_EQ(order.next(ledger_), Claim({0, {10, 3}}));
  EXPECT_EQ(order.next(ledger_), std::nullopt);
  ledger_.give_back(1, {2, 1});
  ledger_.give_back(0, {0, 1});

  EXPECT_EQ(order.next(ledger_), Claim({0, {0, 1}}));
  EXPECT_EQ(order.next(ledger_), Claim({1, {2, 1}}));
  EXPECT_EQ(order.next(ledger_), std::nullopt);
}

// Lanes and faults at once, some of it lost on the way: every page arrives, once.
TEST(FetchOrderRace, BringsEveryPageOnce) {
  constexpr uint64_t kPages = 20'000;
  test::Pages pages;
  PageLedger ledger{pages.add(kPages).memory(), pages.received()};
  FetchOrder order(pages.memory());
  std::vector<std::atomic<int>> arrivals(kPages);
  // One in five is lost on its way.
  auto bring = [&](PageRun run, uint64_t dice) {
    if (dice % 5 == 0) {
      ledger.give_back(0, run);
      return;
    }
    for (uint64_t i = 0; i < run.page_count; ++i) arrivals[run.first_page + i].fetch_add(1);
    ledger.mark_received(0, run);
  };
  auto lane = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    while (ledger.outstanding_pages() > 0) {
      if (const Claim claim = order.next(ledger)) bring(claim->pages, random());
    }
  };
  auto guest = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    while (ledger.outstanding_pages() > 0) {
      const uint64_t page = random() % kPages;
      order.note_fault(0, page);
      if (const auto run = ledger.claim(0, {page, 1})) bring(*run, random());
    }
  };

  std::vector<std::jthread> threads;
  threads.emplace_back(lane, 1);
  threads.emplace_back(lane, 2);
  threads.emplace_back(guest, 3);
  threads.emplace_back(guest, 4);
  threads.clear();

  for (const std::atomic<int>& count : arrivals) ASSERT_EQ(count, 1);
  EXPECT_EQ(order.next(ledger), std::nullopt);
}

}  // namespace
}  // namespace godwit::postcopy
