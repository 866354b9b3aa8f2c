// SPDX-License-Identifier: Apache-2.0
//
// Page sets over several blocks, and finding holes in real files: tmpfs with 4 KiB pages, hugetlbfs
// with 2 MiB pages where the machine has some to give.
#include "engine/memory/guest_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>

#include "engine/base/unique_fd.h"
#include "engine/base/units.h"

namespace godwit {
namespace {

constexpr uint64_t kHugePageBytes = 2 * kMiB;

// A RAM block on a fresh memfd, mapped shared.
class MemfdBlock {
 public:
  MemfdBlock(uint64_t size_bytes, uint64_t page_size_bytes, uint64_t fd_offset_bytes)
      : size_bytes_(size_bytes) {
    const unsigned flags =
        page_size_bytes == kBasePageBytes ? 0U : MFD_HUGETLB | (21U << MFD_HUGE_SHIFT);
    fd_.reset(::memfd_create("block", MFD_CLOEXEC | flags));
    if (!fd_.valid()) return;
    if (::ftruncate(fd_.get(), static_cast<off_t>(fd_offset_bytes + size_bytes)) != 0) return;
    start_ = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(),
                    static_cast<off_t>(fd_offset_bytes));
    if (start_ == MAP_FAILED) return;
    block = {.name = "ram",
             .page_size_bytes = page_size_bytes,
             .numa_node = -1,
             .memory = {static_cast<std::byte*>(start_), size_bytes},
             .fd = fd_.get(),
             .fd_offset_bytes = fd_offset_bytes};
  }
  ~MemfdBlock() {
    if (valid()) ::munmap(start_, size_bytes_);
  }
  MemfdBlock(const MemfdBlock&) = delete;
  MemfdBlock& operator=(const MemfdBlock&) = delete;

  bool valid() const { return start_ != MAP_FAILED; }
  void touch(uint64_t page) { block.memory[page * block.page_size_bytes] = std::byte{1}; }
  void punch(uint64_t page) {
    ASSERT_EQ(::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                          static_cast<off_t>(block.fd_offset_bytes + page * block.page_size_bytes),
                          static_cast<off_t>(block.page_size_bytes)),
              0)
        << std::strerror(errno);
  }
  blkcnt_t storage() const {
    struct stat file = {};
    EXPECT_EQ(::fstat(fd_.get(), &file), 0);
    return file.st_blocks;
  }

  GuestBlock block = {};

 private:
  uint64_t size_bytes_;
  UniqueFd fd_;
  void* start_ = MAP_FAILED;
};

// Touches and punches pages at random; afterwards exactly the touched ones must be found, and
// looking must not have allocated any.
void expect_finds_random_holes(MemfdBlock& memory, uint64_t seed) {
  std::mt19937_64 random(seed);
  PageBitmap expected(memory.block.page_count());
  for (uint64_t step = 0; step < memory.block.page_count(); ++step) {
    const uint64_t page = random() % memory.block.page_count();
    if (random() % 3 != 0) {
      memory.touch(page);
      expected.set(page);
    } else {
      ASSERT_NO_FATAL_FAILURE(memory.punch(page));
      expected.clear(page);
    }
  }
  const blkcnt_t storage_before = memory.storage();

  PageBitmap present(memory.block.page_count());
  present.set(0);  // what was there before does not matter
  const Status status = find_present_pages(memory.block, present);

  ASSERT_TRUE(status.has_value()) << to_string(status.error());
  for (uint64_t page = 0; page < memory.block.page_count(); ++page)
    ASSERT_EQ(present.test(page), expected.test(page)) << "page " << page << ", seed " << seed;
  EXPECT_EQ(memory.storage(), storage_before);
}

TEST(FindPresentPages, FindsExactlyThePagesWithStorageAndAllocatesNone) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    MemfdBlock memory(256 * kBasePageBytes, kBasePageBytes, 0);
    ASSERT_TRUE(memory.valid());
    ASSERT_NO_FATAL_FAILURE(expect_finds_random_holes(memory, seed));
  }
}

TEST(FindPresentPages, CountsFromWhereTheBlockBeginsInItsFile) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    MemfdBlock memory(100 * kBasePageBytes, kBasePageBytes, 7 * kBasePageBytes);
    ASSERT_TRUE(memory.valid());
    ASSERT_NO_FATAL_FAILURE(expect_finds_random_holes(memory, seed));
  }
}

TEST(FindPresentPages, FindsHolesBetweenHugePagesAndAllocatesNone) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    MemfdBlock memory(4 * kHugePageBytes, kHugePageBytes, 0);
    if (!memory.valid()) GTEST_SKIP() << "no 2 MiB pages: write 16 to /proc/sys/vm/nr_hugepages";
    ASSERT_NO_FATAL_FAILURE(expect_finds_random_holes(memory, seed));
  }
}

TEST(FindPresentPages, FindsHugePagesOfABlockInTheMiddleOfItsFile) {
  MemfdBlock memory(3 * kHugePageBytes, kHugePageBytes, kHugePageBytes);
  if (!memory.valid()) GTEST_SKIP() << "no 2 MiB pages: write 16 to /proc/sys/vm/nr_hugepages";
  memory.touch(1);

  PageBitmap present(3);
  ASSERT_TRUE(find_present_pages(memory.block, present).has_value());

  EXPECT_EQ(present.next_run(0, 3), (PageRun{1, 1}));
  EXPECT_EQ(present.count(), 1U);
}

TEST(FindPresentPages, CallsALargePagePresentWhenAnyPartOfItIs) {
  MemfdBlock memory(4 * kHugePageBytes, kBasePageBytes, 0);
  ASSERT_TRUE(memory.valid());
  memory.touch(kHugePageBytes / kBasePageBytes + 300);
  memory.block.page_size_bytes = kHugePageBytes;

  PageBitmap present(4);
  ASSERT_TRUE(find_present_pages(memory.block, present).has_value());

  EXPECT_EQ(present.next_run(0, 4), (PageRun{1, 1}));
  EXPECT_EQ(present.count(), 1U);
}

TEST(FindPresentPages, CallsABlockWithoutAFilePresentThroughout) {
  MemfdBlock memory(8 * kBasePageBytes, kBasePageBytes, 0);
  ASSERT_TRUE(memory.valid());
  memory.block.fd = -1;

  PageBitmap present(8);
  ASSERT_TRUE(find_present_pages(memory.block, present).has_value());

  EXPECT_EQ(present.count(), 8U);
}

TEST(FindPresentPages, SaysWhichBlockItCouldNotLookAt) {
  MemfdBlock memory(8 * kBasePageBytes, kBasePageBytes, 0);
  ASSERT_TRUE(memory.valid());
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  memory.block.fd = read_end.get();

  PageBitmap present(8);
  const Status status = find_present_pages(memory.block, present);

  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, Errc::kSystem);
  EXPECT_EQ(status.error().os_errno, ESPIPE);
  EXPECT_NE(status.error().text().find("'ram'"), std::string_view::npos);
}

TEST(GuestPageSet, CountsPagesAndBytesOverBlocksOfDifferentPageSizes) {
  std::vector<std::byte> small(16 * kBasePageBytes), large(2 * kHugePageBytes);
  const GuestMemory memory = {{.name = "small",
                               .page_size_bytes = kBasePageBytes,
                               .numa_node = -1,
                               .memory = small,
                               .fd = -1,
                               .fd_offset_bytes = 0},
                              {.name = "large",
                               .page_size_bytes = kHugePageBytes,
                               .numa_node = -1,
                               .memory = large,
                               .fd = -1,
                               .fd_offset_bytes = 0}};
  GuestPageSet pages = empty_page_set(memory);
  pages[0].set_run({3, 4});
  pages[1].set(1);

  EXPECT_EQ(total_bytes(memory), small.size() + large.size());
  EXPECT_EQ(count_pages(pages), 5U);
  EXPECT_EQ(count_bytes(memory, pages), 4 * kBasePageBytes + kHugePageBytes);

  GuestPageSet other = empty_page_set(memory);
  other[0].set(3);
  subtract(pages, other);
  EXPECT_EQ(count_pages(pages), 4U);
  intersect(pages, other);
  EXPECT_EQ(count_pages(pages), 0U);
  unite(pages, other);
  EXPECT_EQ(count_pages(pages), 1U);
  clear(pages);
  EXPECT_EQ(count_pages(pages), 0U);
}

}  // namespace
}  // namespace godwit
