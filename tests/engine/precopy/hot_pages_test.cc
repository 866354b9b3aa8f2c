// SPDX-License-Identifier: Apache-2.0
#include "engine/precopy/hot_pages.h"

#include <gtest/gtest.h>

#include <vector>

#include "engine/base/units.h"

namespace godwit::precopy {
namespace {

constexpr uint64_t kPages = 256;

class HotPagesTest : public testing::Test {
 protected:
  HotPagesTest() : bytes_(kPages * kBasePageBytes) {
    memory_.push_back({.name = "ram",
                       .page_size_bytes = kBasePageBytes,
                       .numa_node = -1,
                       .memory = bytes_,
                       .fd = -1,
                       .fd_offset_bytes = 0});
  }

  GuestPageSet pages(PageRun run) const {
    GuestPageSet set = empty_page_set(memory_);
    set[0].set_run(run);
    return set;
  }

  std::vector<std::byte> bytes_;
  GuestMemory memory_;
};

TEST_F(HotPagesTest, HoldsBackPagesThatEveryRecentScanFound) {
  HotPages hot(memory_);
  hot.observe(pages({0, 10}));
  hot.observe(pages({0, 60}));
  hot.observe(pages({5, 100}));

  const GuestPageSet held = hot.held_back(pages({0, 200}));

  EXPECT_EQ(held[0].next_run(0, kPages), (PageRun{5, 5}));
  EXPECT_EQ(count_pages(held), 5U);
}

TEST_F(HotPagesTest, HoldsNothingBackBeforeThreeScans) {
  HotPages hot(memory_);
  hot.observe(pages({0, 10}));
  hot.observe(pages({0, 10}));

  EXPECT_EQ(count_pages(hot.held_back(pages({0, 200}))), 0U);
}

TEST_F(HotPagesTest, HoldsNothingBackWhenMostOfWhatRemainsIsHot) {
  HotPages hot(memory_);
  for (int scan = 0; scan < 3; ++scan) hot.observe(pages({0, 100}));

  EXPECT_EQ(count_pages(hot.held_back(pages({0, 200}))), 0U);
  EXPECT_EQ(count_pages(hot.held_back(pages({0, 201}))), 100U);
}

TEST_F(HotPagesTest, ForgetsAPageThatAScanDidNotFind) {
  HotPages hot(memory_);
  for (int scan = 0; scan < 3; ++scan) hot.observe(pages({0, 10}));
  hot.observe(pages({0, 9}));

  EXPECT_EQ(count_pages(hot.held_back(pages({0, 200}))), 9U);
}

}  // namespace
}  // namespace godwit::precopy
