// SPDX-License-Identifier: Apache-2.0
//
// Pages that are discarded and then read: their content has become zero without a write. The
// tracker that watches for discards reports them; the one that does not is the negative control,
// which shows that the kernel really hides them.
#include "vmm-adapters/linux/discard_watch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/base/units.h"
#include "vmm-adapters/linux/pagemap_tracker.h"

namespace godwit {
namespace {

constexpr uint64_t kPages = 600;

// RAM on a memfd of which every second page has content.
class DiscardedPages : public testing::Test {
 protected:
  void SetUp() override {
    file_.reset(::memfd_create("ram", MFD_CLOEXEC));
    ASSERT_TRUE(file_.valid());
    ASSERT_EQ(::ftruncate(file_.get(), kPages * kBasePageBytes), 0);
    start_ = ::mmap(nullptr, kPages * kBasePageBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                    file_.get(), 0);
    ASSERT_NE(start_, MAP_FAILED);
    memory_ = {{.name = "ram",
                .page_size_bytes = kBasePageBytes,
                .numa_node = -1,
                .memory = {static_cast<std::byte*>(start_), kPages * kBasePageBytes},
                .fd = file_.get(),
                .fd_offset_bytes = 0}};
    for (uint64_t page = 0; page < kPages; page += 2) write(page);
  }
  void TearDown() override {
    if (start_ != MAP_FAILED) ::munmap(start_, kPages * kBasePageBytes);
  }

  void write(uint64_t page) { memory_[0].memory[page * kBasePageBytes] = std::byte{1}; }
  std::byte read(uint64_t page) {
    return *static_cast<volatile std::byte*>(&memory_[0].memory[page * kBasePageBytes]);
  }
  void discard(uint64_t page) {
    ASSERT_EQ(::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                          static_cast<off_t>(page * kBasePageBytes), kBasePageBytes),
              0);
  }
  std::unique_ptr<PagemapTracker> start_tracker(Discards discards) {
    auto tracker = track_own_process(memory_, discards);
    EXPECT_TRUE(tracker.has_value());
    const Status started = (*tracker)->start();
    EXPECT_TRUE(started.has_value()) << to_string(started.error());
    return std::move(*tracker);
  }
  GuestPageSet collect(PagemapTracker& tracker) {
    GuestPageSet dirty = empty_page_set(memory_);
    const Status status = tracker.collect(dirty);
    EXPECT_TRUE(status.has_value()) << to_string(status.error());
    return dirty;
  }
  blkcnt_t storage() {
    struct stat file = {};
    EXPECT_EQ(::fstat(file_.get(), &file), 0);
    return file.st_blocks;
  }

  UniqueFd file_;
  void* start_ = MAP_FAILED;
  GuestMemory memory_;
};

TEST_F(DiscardedPages, AreHiddenFromWriteTrackingWhenTheyAreReadAgain) {
  auto tracker = start_tracker(Discards::kNever);
  discard(100);
  ASSERT_EQ(read(100), std::byte{0});

  EXPECT_EQ(count_pages(collect(*tracker)), 0U) << "the watch is not needed on this kernel";
}

TEST_F(DiscardedPages, AreReportedWhenTheyAreReadAgain) {
  auto tracker = start_tracker(Discards::kPossible);
  for (uint64_t page : {0, 100, 102, 598}) {
    discard(page);
    ASSERT_EQ(read(page), std::byte{0});
  }

  const GuestPageSet dirty = collect(*tracker);

  EXPECT_EQ(count_pages(dirty), 4U);
  for (uint64_t page : {0, 100, 102, 598}) EXPECT_TRUE(dirty[0].test(page)) << page;
}

TEST_F(DiscardedPages, AreReportedOnceAndWatchedAgain) {
  auto tracker = start_tracker(Discards::kPossible);
  for (int round = 0; round < 3; ++round) {
    discard(100);
    ASSERT_EQ(read(100), std::byte{0});
    EXPECT_TRUE(collect(*tracker)[0].test(100)) << "round " << round;
    EXPECT_EQ(count_pages(collect(*tracker)), 0U) << "round " << round;
  }
}

TEST_F(DiscardedPages, AreReportedWhenTheirNeighboursAreWrittenAndWatched) {
  auto tracker = start_tracker(Discards::kPossible);
  write(101);  // was a hole
  discard(100);
  ASSERT_EQ(read(100), std::byte{0});
  EXPECT_TRUE(collect(*tracker)[0].test(100));

  // Were the neighbour mapped along with 103, this would be missed.
  discard(100);
  write(103);
  collect(*tracker);
  ASSERT_EQ(read(100), std::byte{0});
  EXPECT_TRUE(collect(*tracker)[0].test(100));
}

TEST_F(DiscardedPages, AreNotReportedNorAllocatedWhileTheyAreHoles) {
  auto tracker = start_tracker(Discards::kPossible);
  const blkcnt_t before = storage();
  discard(100);

  EXPECT_EQ(count_pages(collect(*tracker)), 0U);
  EXPECT_EQ(storage(), before - static_cast<blkcnt_t>(kBasePageBytes / 512));
}

TEST_F(DiscardedPages, LeaveWritesReportedAsEver) {
  auto tracker = start_tracker(Discards::kPossible);
  write(7);
  write(8);

  const GuestPageSet dirty = collect(*tracker);

  EXPECT_EQ(count_pages(dirty), 2U);
  EXPECT_TRUE(dirty[0].test(7) && dirty[0].test(8));
  EXPECT_EQ(count_pages(collect(*tracker)), 0U);
}

}  // namespace
}  // namespace godwit
