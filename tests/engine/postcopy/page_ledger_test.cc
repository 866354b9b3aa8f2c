// SPDX-License-Identifier: Apache-2.0
#include "engine/postcopy/page_ledger.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "engine/base/units.h"
#include "tests/engine/postcopy/pages.h"

namespace godwit::postcopy {
namespace {

using test::Pages;

constexpr uint64_t kHugePage = 2 * kMiB;

using MaybeRun = std::optional<PageRun>;

TEST(PageLedger, HasEveryPageMissingWhenNoBitIsSet) {
  Pages pages;
  pages.add(100).add(3, kHugePage);

  PageLedger ledger(pages.memory(), pages.received());

  EXPECT_EQ(ledger.state(0, 0), PageState::kMissing);
  EXPECT_EQ(ledger.state(0, 99), PageState::kMissing);
  EXPECT_EQ(ledger.state(1, 2), PageState::kMissing);
  EXPECT_EQ(ledger.outstanding_pages(), 103u);
  EXPECT_EQ(ledger.outstanding_bytes(), 100 * kBasePageBytes + 3 * kHugePage);
}

TEST(PageLedger, SetsTheBitsPastTheLastPage) {
  Pages pages;
  pages.add(70).add(64);

  PageLedger ledger(pages.memory(), pages.received());

  EXPECT_EQ(pages.word(0, 1).load(), ~uint64_t{0} << 6);
  EXPECT_EQ(pages.word(1, 0).load(), 0u);
}

TEST(PageLedger, TakesFromBeginWhatIsMissingAndFromNowhereElse) {
  Pages pages;
  pages.add(130).add(5, kHugePage);
  pages.word(0, 0) = 0xff;
  PageLedger ledger(pages.memory(), pages.received());
  GuestPageSet missing = empty_page_set(pages.memory());
  missing[0].set_run({3, 2});
  missing[0].set(129);
  missing[1].set(4);

  ledger.begin(missing);

  EXPECT_EQ(ledger.outstanding_pages(), 4u);
  EXPECT_EQ(ledger.outstanding_bytes(), 3 * kBasePageBytes + kHugePage);
  EXPECT_EQ(ledger.state(0, 2), PageState::kReceived);
  EXPECT_EQ(ledger.state(0, 3), PageState::kMissing);
  EXPECT_EQ(ledger.state(0, 128), PageState::kReceived);
  EXPECT_EQ(ledger.claim(0, {0, 130}), MaybeRun(PageRun{3, 2}));
  EXPECT_EQ(ledger.claim(0, {0, 130}), MaybeRun(PageRun{129, 1}));
  EXPECT_EQ(ledger.claim(0, {0, 130}), std::nullopt);
  EXPECT_EQ(ledger.claim(1, {0, 5}), MaybeRun(PageRun{4, 1}));
}

TEST(PageLedger, ClaimsInsideTheAskedPagesOnly) {
  Pages pages;
  pages.add(64);
  PageLedger ledger(pages.memory(), pages.received());

  EXPECT_EQ(ledger.claim(0, {10, 5}), MaybeRun(PageRun{10, 5}));
  EXPECT_EQ(ledger.claim(0, {10, 5}), std::nullopt);
  EXPECT_EQ(ledger.claim(0, {8, 4}), MaybeRun(PageRun{8, 2}));
  EXPECT_EQ(ledger.claim(0, {14, 2}), MaybeRun(PageRun{15, 1}));
  EXPECT_EQ(ledger.claim(0, {64, 0}), std::nullopt);
  EXPECT_EQ(ledger.state(0, 7), PageState::kMissing);
  EXPECT_EQ(ledger.state(0, 15), PageState::kInFlight);
  EXPECT_EQ(ledger.state(0, 16), PageState::kMissing);
}

TEST(PageLedger, ClaimsNoRunAcrossAWordsEdge) {
  Pages pages;
  pages.add(200);
  PageLedger ledger(pages.memory(), pages.received());

  EXPECT_EQ(ledger.claim(0, {62, 100}), MaybeRun(PageRun{62, 2}));
  EXPECT_EQ(ledger.claim(0, {62, 100}), MaybeRun(PageRun{64, 64}));
  EXPECT_EQ(ledger.claim(0, {62, 100}), MaybeRun(PageRun{128, 34}));
  EXPECT_EQ(ledger.claim(0, {62, 100}), std::nullopt);
  EXPECT_EQ(ledger.claim(0, {0, 200}), MaybeRun(PageRun{0, 62}));
  EXPECT_EQ(ledger.claim(0, {0, 200}), MaybeRun(PageRun{162, 30}));
  EXPECT_EQ(ledger.claim(0, {0, 200}), MaybeRun(PageRun{192, 8}));
  EXPECT_EQ(ledger.claim(0, {0, 200}), std::nullopt);
}

TEST(PageLedger, CountsDownAsPagesAreReceived) {
  Pages pages;
  pages.add(70).add(4, kHugePage);
  PageLedger ledger(pages.memory(), pages.received());
  ASSERT_EQ(ledger.claim(1, {1, 2}), MaybeRun(PageRun{1, 2}));

  ledger.mark_received(1, {1, 1});

  EXPECT_EQ(ledger.state(1, 1), PageState::kReceived);
  EXPECT_EQ(ledger.state(1, 2), PageState::kInFlight);
  EXPECT_EQ(ledger.outstanding_pages(), 73u);
  EXPECT_EQ(ledger.outstanding_bytes(), 70 * kBasePageBytes + 3 * kHugePage);
}

TEST(PageLedger, NeverGivesOutAReceivedPageAgain) {
  Pages pages;
  pages.add(64);
  PageLedger ledger(pages.memory(), pages.received());
  ASSERT_EQ(ledger.claim(0, {0, 64}), MaybeRun(PageRun{0, 64}));

  ledger.mark_received(0, {20, 3});
  ledger.give_back(0, {0, 20});
  ledger.give_back(0, {23, 41});

  EXPECT_EQ(ledger.give_backs(), 2u);
  EXPECT_EQ(ledger.claim(0, {0, 64}), MaybeRun(PageRun{0, 20}));
  EXPECT_EQ(ledger.claim(0, {0, 64}), MaybeRun(PageRun{23, 41}));
  EXPECT_EQ(ledger.claim(0, {0, 64}), std::nullopt);
  EXPECT_EQ(ledger.outstanding_pages(), 61u);
}

TEST(PageLedger, FindsAgainWhatAnEarlierOneHadReceivedAndForgetsWhatWasInFlight) {
  Pages pages;
  pages.add(130);
  {
    PageLedger ledger(pages.memory(), pages.received());
    ASSERT_EQ(ledger.claim(0, {60, 4}), MaybeRun(PageRun{60, 4}));
    ASSERT_EQ(ledger.claim(0, {127, 3}), MaybeRun(PageRun{127, 1}));
    ASSERT_EQ(ledger.claim(0, {127, 3}), MaybeRun(PageRun{128, 2}));
    ledger.mark_received(0, {61, 2});
    ledger.mark_received(0, {127, 3});
  }

  PageLedger ledger(pages.memory(), pages.received());

  EXPECT_EQ(ledger.outstanding_pages(), 125u);
  EXPECT_EQ(ledger.state(0, 60), PageState::kMissing);
  EXPECT_EQ(ledger.state(0, 61), PageState::kReceived);
  EXPECT_EQ(ledger.state(0, 129), PageState::kReceived);
  EXPECT_EQ(ledger.claim(0, {60, 70}), MaybeRun(PageRun{60, 1}));
}

TEST(PageLedger, FindsTheReceivedRunAroundAPage) {
  Pages pages;
  pages.add(300);
  PageLedger ledger(pages.memory(), pages.received());
  GuestPageSet missing = empty_page_set(pages.memory());
  missing[0].set(10);
  missing[0].set(200);
  ledger.begin(missing);

  EXPECT_EQ(ledger.received_around(0, 100, 512), (PageRun{11, 189}));
  EXPECT_EQ(ledger.received_around(0, 11, 512), (PageRun{11, 189}));
  EXPECT_EQ(ledger.received_around(0, 199, 512), (PageRun{11, 189}));
  EXPECT_EQ(ledger.received_around(0, 9, 512), (PageRun{0, 10}));
  EXPECT_EQ(ledger.received_around(0, 201, 512), (PageRun{201, 99}));
  EXPECT_EQ(ledger.received_around(0, 100, 64), (PageRun{64, 64}));
  EXPECT_EQ(ledger.received_around(0, 12, 16), (PageRun{11, 5}));
  EXPECT_EQ(ledger.received_around(0, 299, 64), (PageRun{256, 44}));
  EXPECT_EQ(ledger.received_around(0, 100, 1), (PageRun{100, 1}));
}

TEST(PageLedger, FindsTheNextPageThatNobodyFetches) {
  Pages pages;
  pages.add(200);
  PageLedger ledger(pages.memory(), pages.received());
  GuestPageSet missing = empty_page_set(pages.memory());
  for (uint64_t page : {3, 63, 64, 199}) missing[0].set(page);
  ledger.begin(missing);
  ASSERT_TRUE(ledger.claim(0, {63, 1}));

  EXPECT_EQ(ledger.next_missing(0, 0), 3u);
  EXPECT_EQ(ledger.next_missing(0, 3), 3u);
  EXPECT_EQ(ledger.next_missing(0, 4), 64u);
  EXPECT_EQ(ledger.next_missing(0, 65), 199u);
  EXPECT_EQ(ledger.next_missing(0, 200), std::nullopt);
  ledger.give_back(0, {63, 1});
  EXPECT_EQ(ledger.next_missing(0, 4), 63u);
}

TEST(PageLedgerDeathTest, AbortsWhenAPageArrivesThatNobodyClaimed) {
  Pages pages;
  pages.add(64);
  PageLedger ledger(pages.memory(), pages.received());

  EXPECT_DEATH(ledger.mark_received(0, {5, 1}), "claimed");
}

TEST(PageLedgerDeathTest, AbortsWhenAReceivedPageArrivesOrIsGivenBack) {
  Pages pages;
  pages.add(64);
  PageLedger ledger(pages.memory(), pages.received());
  ASSERT_TRUE(ledger.claim(0, {5, 1}));
  ledger.mark_received(0, {5, 1});

  EXPECT_DEATH(ledger.mark_received(0, {5, 1}), "before");
  EXPECT_DEATH(ledger.give_back(0, {5, 1}), "received");
}

// Threads that all want the same pages. Each page has plain bytes, so under ThreadSanitizer every
// hand-over of a page without the right memory order is a data race.
class PageLedgerRace : public testing::Test {
 protected:
  static constexpr uint64_t kPages = 1000;
  static constexpr int kThreads = 4;

  // A thread's work: fetches what it gets hold of and gives back every seventh run once.
  void fetch_all(unsigned start) {
    unsigned turn = start;
    while (ledger_.outstanding_pages() > 0) {
      // Starting points far apart and close together, so that words are fought for.
      const uint64_t first = (turn * 37) % kPages;
      MaybeRun run = ledger_.claim(0, {first, kPages - first});
      if (!run) run = ledger_.claim(0, {0, kPages});
      if (!run) continue;
      for (uint64_t i = 0; i < run->page_count; ++i) content_[run->first_page + i] += 1;
      if (turn++ % 7 == 0) {
        for (uint64_t i = 0; i < run->page_count; ++i) content_[run->first_page + i] -= 1;
        ledger_.give_back(0, *run);
        continue;
      }
      ledger_.mark_received(0, *run);
    }
  }

  // Looks at the content of what it sees received.
  void look() {
    for (uint64_t page = 0; page < kPages;) {
      if (ledger_.state(0, page) != PageState::kReceived) continue;
      const PageRun run = ledger_.received_around(0, page, 16);
      for (uint64_t i = 0; i < run.page_count; ++i) {
        if (content_[run.first_page + i] != 1) wrong_.fetch_add(1);
      }
      page = run.first_page + run.page_count;
    }
  }

  Pages pages_;
  PageLedger ledger_{pages_.add(kPages).memory(), pages_.received()};
  std::vector<int> content_ = std::vector<int>(kPages);
  std::atomic<int> wrong_{0};
};

TEST_F(PageLedgerRace, EveryPageIsReceivedOnceAndSeenWithItsContent) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([this, i] { fetch_all(static_cast<unsigned>(i)); });
  }
  std::jthread looker([this] { look(); });
  while (ledger_.outstanding_pages() > 0) std::this_thread::yield();

  // Zero outstanding is enough to look at all of it.
  for (int content : content_) EXPECT_EQ(content, 1);
  looker.join();
  EXPECT_EQ(wrong_, 0);
}

TEST_F(PageLedgerRace, PageThatIsGivenBackIsHandedOverWithWhatWasWrittenToIt) {
  constexpr int kTurns = 1000;
  auto take_turns = [this] {
    for (int turn = 0; turn < kTurns;) {
      if (!ledger_.claim(0, {5, 1})) continue;
      content_[5] += 1;
      ledger_.give_back(0, {5, 1});
      ++turn;
    }
  };

  std::jthread first(take_turns);
  std::jthread second(take_turns);
  first.join();
  second.join();

  EXPECT_EQ(content_[5], 2 * kTurns);
}

TEST_F(PageLedgerRace, TwoWhoWantOnePageGetItOnce) {
  std::vector<std::atomic<int>> claims(kPages);
  std::atomic<int> ready{0};
  auto want_each = [&] {
    ready.fetch_add(1);
    while (ready < 2) std::this_thread::yield();
    for (uint64_t page = 0; page < kPages; ++page) {
      if (ledger_.claim(0, {page, 1})) claims[page].fetch_add(1);
    }
  };

  std::jthread first(want_each);
  std::jthread second(want_each);
  first.join();
  second.join();

  for (const std::atomic<int>& count : claims) EXPECT_EQ(count, 1);
}

}  // namespace
}  // namespace godwit::postcopy
