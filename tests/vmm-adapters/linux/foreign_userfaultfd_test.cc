// SPDX-License-Identifier: Apache-2.0
//
// Tracking another process from outside: that it works, that the process does not notice, and that
// nothing stays in it, whatever becomes of the tracker.
#include "vmm-adapters/linux/foreign_userfaultfd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "engine/base/units.h"
#include "tests/vmm-adapters/linux/tracked_process.h"
#include "vmm-adapters/linux/pagemap_tracker.h"
#include "vmm-adapters/linux/write_protected_ranges.h"

namespace godwit::test {
namespace {

constexpr auto kPatience = seconds(10);

class ForeignUserfaultfdTest : public testing::Test {
 protected:
  void SetUp() override {
    if (Status probe = probe_pagemap_scan(); !probe) GTEST_SKIP() << to_string(probe.error());
    if (Status access = probe_process_access(process_.pid()); !access) {
      GTEST_SKIP() << to_string(access.error());
    }
  }

  // The child is a fork: its block lies at the same address as ours.
  std::unique_ptr<PagemapTracker> make_tracker() const {
    PagemapTracker::Options options;
    options.open_userfaultfd = [pid = process_.pid()]() -> Result<UniqueFd> {
      ASSIGN_OR_RETURN(ForeignUserfaultfd foreign,
                       open_userfaultfd_of(pid, deadline_in(kPatience)));
      return std::move(foreign.fd);
    };
    options.pagemap = std::move(*open_pagemap(process_.pid()));
    options.addresses = {reinterpret_cast<uint64_t>(memory_.bytes().data())};
    return std::make_unique<PagemapTracker>(memory_.memory(), std::move(options));
  }

  AddressRange range() const {
    auto start = reinterpret_cast<uint64_t>(memory_.bytes().data());
    return {start, start + memory_.bytes().size()};
  }

  TestMemory memory_{16 * kMiB};
  TrackedProcess process_{memory_};
};

TEST_F(ForeignUserfaultfdTest, ReportsTheWritesOfTheOtherProcess) {
  std::unique_ptr<PagemapTracker> tracker = make_tracker();
  Status started = tracker->start();
  ASSERT_TRUE(started) << to_string(started.error());

  process_.write_page(11);
  process_.write_page(4000);

  GuestPageSet dirty = empty_page_set(memory_.memory());
  ASSERT_TRUE(tracker->collect(dirty));
  EXPECT_EQ(runs_of(dirty[0]), (std::vector<PageRun>{{11, 1}, {4000, 1}}));
}

TEST_F(ForeignUserfaultfdTest, LetsTheProcessGoOnAsIfNothingHadBeen) {
  process_.write_page(0);  // it has come to its loop
  uint64_t descriptors_before = process_.descriptor_count();
  uint64_t turns_before = process_.turns();
  Clock::duration longest{};

  for (int i = 0; i < 300; i++) {
    Result<ForeignUserfaultfd> foreign =
        open_userfaultfd_of(process_.pid(), deadline_in(kPatience));
    ASSERT_TRUE(foreign) << to_string(foreign.error());
    longest = std::max(longest, foreign->thread_stopped);
  }
  process_.write_page(1);

  RecordProperty("longest_stop_us", std::to_string(duration_cast<microseconds>(longest).count()));
  EXPECT_EQ(process_.wrong_answers(), 0U);
  EXPECT_EQ(process_.descriptor_count(), descriptors_before);
  EXPECT_GT(process_.turns(), turns_before);
}

TEST_F(ForeignUserfaultfdTest, LeavesNoWriteProtectionWhenTheTrackerIsKilled) {
  Result<UniqueFd> pagemap = open_pagemap(process_.pid());
  PagemapScan scan(pagemap->get());
  ForkedAgent agent([&] {
    static std::unique_ptr<PagemapTracker> tracker = make_tracker();
    if (!tracker->start()) _exit(1);
  });
  agent.wait_until_done();
  ASSERT_TRUE(scan.find_written(range())) << "the agent tracks";

  agent.kill_now();

  // Memory that is not tracked by anybody: the scan says so, and a new tracker is not in its way.
  EXPECT_FALSE(scan.find_written(range()));
  process_.write_page(5);
  std::unique_ptr<PagemapTracker> successor = make_tracker();
  Status started = successor->start();
  EXPECT_TRUE(started) << to_string(started.error());
}

TEST_F(ForeignUserfaultfdTest, KeepsTheProcessAliveWhenKilledAtAnyMoment) {
  std::mt19937_64 random(7);

  for (int i = 0; i < 200; i++) {
    ForkedAgent agent([&] {
      while (true) static_cast<void>(open_userfaultfd_of(process_.pid(), deadline_in(kPatience)));
    });
    Deadline moment = deadline_in(microseconds(1000 + random() % 4000));
    while (Clock::now() < moment) {
    }
    agent.kill_now();
    process_.write_page(static_cast<uint64_t>(i));
    ASSERT_TRUE(process_.alive());
  }

  RecordProperty("wrong_answers", std::to_string(process_.wrong_answers()));
}

TEST_F(ForeignUserfaultfdTest, DeliversEverySignalOfTheProcess) {
  process_.write_page(0);  // it has come to its loop

  for (int i = 0; i < 300; i++) {
    ASSERT_EQ(kill(process_.pid(), SIGUSR1), 0);
    Result<ForeignUserfaultfd> foreign =
        open_userfaultfd_of(process_.pid(), deadline_in(kPatience));
    ASSERT_TRUE(foreign) << to_string(foreign.error());
    ASSERT_EQ(kill(process_.pid(), SIGUSR1), 0);
    process_.write_page(1);
    ASSERT_GE(process_.signals(), static_cast<uint64_t>(i) + 1);
  }

  EXPECT_EQ(process_.wrong_answers(), 0U);
}

TEST_F(ForeignUserfaultfdTest, SaysThatAProcessIsGone) {
  Result<ForeignUserfaultfd> foreign = open_userfaultfd_of(0x3fffff, deadline_in(milliseconds(50)));

  EXPECT_FALSE(foreign);
}

}  // namespace
}  // namespace godwit::test
