// SPDX-License-Identifier: Apache-2.0
#include "engine/postcopy/fault_waiters.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/engine/postcopy/pages.h"

namespace godwit::postcopy {
namespace {

class FaultWaitersTest : public testing::Test {
 protected:
  void wait_for(uint32_t block, uint64_t page, int32_t vcpu) {
    waiters_.add(ledger_, {block, {page, 1}}, {Clock::now(), vcpu}, note_);
  }
  void arrive(uint32_t block, PageRun pages) {
    ledger_.mark_received(block, pages);
    waiters_.arrived({block, pages}, note_);
  }

  test::Pages pages_;
  PageLedger ledger_{pages_.add(200).add(200).memory(), pages_.received()};
  FaultWaiters waiters_;
  std::vector<int32_t> ended_;
  FaultWaiters::Ended note_ = [this](const Wait& wait) { ended_.push_back(wait.vcpu); };
};

TEST_F(FaultWaitersTest, EndsTheWaitsForThePagesThatArrive) {
  ASSERT_TRUE(ledger_.claim(0, {0, 8}));
  ASSERT_TRUE(ledger_.claim(1, {0, 8}));
  wait_for(0, 3, 1);
  wait_for(0, 3, 2);
  wait_for(1, 3, 3);

  arrive(0, {0, 8});
  EXPECT_EQ(ended_, (std::vector<int32_t>{1, 2}));
  arrive(1, {0, 8});
  EXPECT_EQ(ended_, (std::vector<int32_t>{1, 2, 3}));
}

TEST_F(FaultWaitersTest, EndsAWaitForAPageThatHasJustCome) {
  ASSERT_TRUE(ledger_.claim(0, {0, 1}));
  arrive(0, {0, 1});

  wait_for(0, 0, 7);

  EXPECT_EQ(ended_, std::vector<int32_t>{7});
}

TEST_F(FaultWaitersTest, ForgetsThoseWhosePageWasGivenBack) {
  ASSERT_TRUE(ledger_.claim(0, {0, 1}));
  wait_for(0, 0, 7);
  ledger_.give_back(0, {0, 1});
  waiters_.drop_missing(ledger_);

  ASSERT_TRUE(ledger_.claim(0, {0, 1}));
  arrive(0, {0, 1});

  EXPECT_TRUE(ended_.empty());
}

TEST_F(FaultWaitersTest, KeepsNoMoreThanThereIsRoomFor) {
  ASSERT_TRUE(ledger_.claim(0, {0, 1}));
  for (int32_t vcpu = 0; vcpu < 1000; ++vcpu) wait_for(0, 0, vcpu);

  arrive(0, {0, 1});

  EXPECT_EQ(ended_.size(), 256U);
}

// Those who wait and those who bring pages at once: every wait ends, once.
TEST(FaultWaitersRace, EndsEveryWaitOnce) {
  constexpr uint64_t kPages = 20'000;
  constexpr uint64_t kGuests = 2;  // each waits for its page of those that are on their way at once
  test::Pages pages;
  PageLedger ledger{pages.add(kPages).memory(), pages.received()};
  FaultWaiters waiters;
  std::atomic<uint64_t> begun{0};
  std::atomic<uint64_t> ended{0};
  const FaultWaiters::Ended note = [&ended](const Wait& wait) {
    EXPECT_EQ(wait.vcpu, 5);
    ended.fetch_add(1);
  };
  std::atomic<uint64_t> claimed{0};  // pages below are in flight or received

  std::vector<std::jthread> threads;
  threads.emplace_back([&] {
    for (uint64_t first = 0; first < kPages; first += kGuests) {
      ASSERT_TRUE(ledger.claim(0, {first, kGuests}));
      claimed.store(first + kGuests);
      for (uint64_t page = first; page < first + kGuests; ++page) {
        ledger.mark_received(0, {page, 1});
        waiters.arrived({0, {page, 1}}, note);
      }
    }
  });
  for (uint64_t guest = 1; guest <= kGuests; ++guest) {
    threads.emplace_back([&, guest] {
      for (uint64_t seen = 0; seen < kPages;) {
        const uint64_t now = claimed.load();
        if (now == seen) continue;
        seen = now;
        begun.fetch_add(1);
        waiters.add(ledger, {0, {seen - guest, 1}}, {Clock::now(), 5}, note);
      }
    });
  }
  threads.clear();

  EXPECT_EQ(ended.load(), begun.load());
}

}  // namespace
}  // namespace godwit::postcopy
