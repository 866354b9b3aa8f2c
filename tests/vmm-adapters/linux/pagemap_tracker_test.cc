// SPDX-License-Identifier: Apache-2.0
//
// Dirty tracking of this very process, with the real kernel.
#include "vmm-adapters/linux/pagemap_tracker.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/mman.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <random>
#include <thread>

#include "engine/base/units.h"
#include "tests/vmm-adapters/linux/test_memory.h"

namespace godwit::test {
namespace {

class PagemapTrackerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (Status probe = probe_pagemap_scan(); !probe) GTEST_SKIP() << to_string(probe.error());
  }

  static std::unique_ptr<PagemapTracker> started(const TestMemory& test_memory) {
    Result<std::unique_ptr<PagemapTracker>> tracker = track_own_process(test_memory.memory());
    EXPECT_TRUE(tracker) << to_string(tracker.error());
    Status status = (*tracker)->start();
    EXPECT_TRUE(status) << to_string(status.error());
    return std::move(*tracker);
  }

  static std::vector<PageRun> collected(PagemapTracker& tracker, const TestMemory& test_memory) {
    GuestPageSet dirty = empty_page_set(test_memory.memory());
    Status status = tracker.collect(dirty);
    EXPECT_TRUE(status) << to_string(status.error());
    return runs_of(dirty[0]);
  }
};

using Runs = std::vector<PageRun>;

TEST_F(PagemapTrackerTest, ReportsExactlyThePagesThatWereWritten) {
  TestMemory memory(64 * kMiB);
  memory.write(3, 1);
  std::unique_ptr<PagemapTracker> tracker = started(memory);

  memory.write(3, 2);
  memory.write(700, 1);
  memory.write(701, 1);
  memory.write(16383, 1);

  EXPECT_EQ(collected(*tracker, memory), (Runs{{3, 1}, {700, 2}, {16383, 1}}));
}

TEST_F(PagemapTrackerTest, ReportsAPageAgainOnlyWhenItIsWrittenAgain) {
  TestMemory memory(8 * kMiB);
  std::unique_ptr<PagemapTracker> tracker = started(memory);
  memory.write(5, 1);
  memory.write(6, 1);
  collected(*tracker, memory);

  memory.write(6, 2);

  EXPECT_EQ(collected(*tracker, memory), (Runs{{6, 1}}));
  EXPECT_EQ(collected(*tracker, memory), Runs{});
}

TEST_F(PagemapTrackerTest, CallsMemoryCleanThatWasOnlyRead) {
  TestMemory memory(8 * kMiB);
  memory.write(9, 1);
  std::unique_ptr<PagemapTracker> tracker = started(memory);

  std::byte sum{};
  for (uint64_t page = 0; page < 2048; page++) sum |= memory.bytes()[page * kBasePageBytes];

  EXPECT_EQ(sum, std::byte{1});
  EXPECT_EQ(collected(*tracker, memory), Runs{});
}

TEST_F(PagemapTrackerTest, SeesWhatTheKernelWritesOnBehalfOfTheProcess) {
  TestMemory memory(8 * kMiB);
  std::unique_ptr<PagemapTracker> tracker = started(memory);
  UniqueFd random(open("/dev/urandom", O_RDONLY | O_CLOEXEC));

  ASSERT_EQ(read(random.get(), &memory.bytes()[4 * kBasePageBytes], 100), 100);

  EXPECT_EQ(collected(*tracker, memory), (Runs{{4, 1}}));
}

TEST_F(PagemapTrackerTest, ReportsDenseDirtAcrossWindowsOfEverySize) {
  TestMemory memory(128 * kMiB);
  std::unique_ptr<PagemapTracker> tracker = started(memory);

  for (uint64_t page = 100; page < 30'000; page++) memory.write(page, 1);
  memory.write(32'000, 1);

  EXPECT_EQ(collected(*tracker, memory), (Runs{{100, 29'900}, {32'000, 1}}));
}

TEST_F(PagemapTrackerTest, ReportsMoreRunsThanOneCallOfTheKernelCanReturn) {
  TestMemory memory(128 * kMiB);
  std::unique_ptr<PagemapTracker> tracker = started(memory);
  for (uint64_t page = 0; page < 32'768; page += 2) memory.write(page, 1);

  std::vector<PageRun> runs = collected(*tracker, memory);

  ASSERT_EQ(runs.size(), 16'384U);
  EXPECT_EQ(runs.back(), (PageRun{32'766, 1}));
}

TEST_F(PagemapTrackerTest, LosesNoPageWhileAWriterRuns) {
  TestMemory memory(32 * kMiB);
  std::vector<std::byte> copy(memory.bytes().begin(), memory.bytes().end());
  std::unique_ptr<PagemapTracker> tracker = started(memory);
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> written = 0;
  std::thread writer([&] {
    std::mt19937_64 random(1);
    while (!stop) memory.write(random() % 8192, static_cast<int>(++written % 251));
  });

  auto copy_dirty = [&] {
    for (PageRun run : collected(*tracker, memory)) {
      uint64_t offset = run.first_page * kBasePageBytes;
      memory.read(offset, std::span(copy).subspan(offset, run.page_count * kBasePageBytes));
    }
  };
  while (written < 1'000'000) copy_dirty();
  stop = true;
  writer.join();
  copy_dirty();

  EXPECT_EQ(std::memcmp(copy.data(), memory.bytes().data(), copy.size()), 0);
}

TEST_F(PagemapTrackerTest, FailsRatherThanCallRemappedMemoryClean) {
  TestMemory memory(8 * kMiB);
  std::unique_ptr<PagemapTracker> tracker = started(memory);

  ASSERT_NE(mmap(memory.bytes().data(), memory.bytes().size(), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_FIXED, memory.fd(), 0),
            MAP_FAILED);

  GuestPageSet dirty = empty_page_set(memory.memory());
  Status status = tracker->collect(dirty);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::kGuest);
}

TEST_F(PagemapTrackerTest, RefusesMemoryThatAnotherTrackerHas) {
  TestMemory memory(8 * kMiB);
  std::unique_ptr<PagemapTracker> first = started(memory);
  Result<std::unique_ptr<PagemapTracker>> second = track_own_process(memory.memory());

  Status status = (*second)->start();

  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::kGuest);
}

TEST_F(PagemapTrackerTest, LeavesNothingBehindAndMayStartAgain) {
  TestMemory memory(8 * kMiB);
  std::unique_ptr<PagemapTracker> tracker = started(memory);

  EXPECT_TRUE(tracker->stop());
  EXPECT_TRUE(tracker->stop());
  ASSERT_TRUE(tracker->start());
  memory.write(1, 1);

  EXPECT_EQ(collected(*tracker, memory), (Runs{{1, 1}}));
}

bool huge_pages_are_free(uint64_t bytes) {
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0);
  return address != MAP_FAILED && munmap(address, bytes) == 0;
}

TEST_F(PagemapTrackerTest, ReportsHugePagesAsWhole) {
  constexpr uint64_t kBytes = 32 * kMiB;
  if (!huge_pages_are_free(kBytes))
    GTEST_SKIP() << "no 2 MiB pages: write 32 to /proc/sys/vm/nr_hugepages";
  TestMemory memory(kBytes, 2 * kMiB, MFD_HUGETLB);
  std::unique_ptr<PagemapTracker> tracker = started(memory);

  memory.bytes()[5 * kMiB] = std::byte{1};
  memory.write(7, 1);

  EXPECT_EQ(collected(*tracker, memory), (Runs{{2, 1}, {7, 1}}));
  EXPECT_EQ(collected(*tracker, memory), Runs{});
}

}  // namespace
}  // namespace godwit::test
