// SPDX-License-Identifier: Apache-2.0
#include "engine/precopy/open_chunk.h"

#include <gtest/gtest.h>

#include <mutex>
#include <thread>
#include <vector>

namespace godwit::precopy {
namespace {

constexpr ChunkIndex kLast = (ChunkIndex{1} << 31) - 1;

TEST(OpenChunk, IsBegunBiteByBite) {
  OpenChunk chunk;
  EXPECT_FALSE(chunk.bite(4));

  chunk.open({kLast, Turn::kAgain, {0, 10}});

  const auto first = chunk.bite(8);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->index, kLast);
  EXPECT_EQ(first->turn, Turn::kAgain);
  EXPECT_EQ(first->pages.first_page, 0U);
  EXPECT_EQ(first->pages.page_count, 8U);
  const auto rest = chunk.bite(8);
  ASSERT_TRUE(rest);
  EXPECT_EQ(rest->pages.first_page, 8U);
  EXPECT_EQ(rest->pages.page_count, 2U);
  EXPECT_FALSE(chunk.bite(8));
}

TEST(OpenChunk, GivesAnotherLaneHalfOfWhatIsNotBegun) {
  OpenChunk chunk;
  chunk.open({7, Turn::kFirst, {0, 1024}});
  chunk.bite(24);

  const auto part = chunk.take_over(64);

  ASSERT_TRUE(part);
  EXPECT_EQ(part->index, 7U);
  EXPECT_EQ(part->turn, Turn::kFirst);
  EXPECT_EQ(part->pages.first_page, 524U);
  EXPECT_EQ(part->pages.page_count, 500U);
  EXPECT_EQ(chunk.left().pages.page_count, 500U);
}

TEST(OpenChunk, KeepsWhatIsNotWorthTakingOver) {
  OpenChunk chunk;
  chunk.open({7, Turn::kFirst, {0, 63}});

  EXPECT_FALSE(chunk.take_over(64));
  EXPECT_EQ(chunk.left().pages.page_count, 63U);
}

TEST(OpenChunk, GivesItsOnlyPageAwayWhileNobodyHasBegunIt) {
  OpenChunk chunk;
  chunk.open({7, Turn::kFirst, {0, 1}});

  EXPECT_TRUE(chunk.take_over(1));
  EXPECT_FALSE(chunk.bite(1));
}

TEST(OpenChunk, HasNothingLeftWhenItIsCleared) {
  OpenChunk chunk;
  chunk.open({7, Turn::kFirst, {0, 1024}});

  chunk.clear();

  EXPECT_FALSE(chunk.take_over(1));
  EXPECT_FALSE(chunk.bite(1));
}

TEST(OpenChunk, GivesEachPageOnceHoweverManyTake) {
  constexpr uint64_t kPages = 1024;
  for (ChunkIndex index = 0; index < 50; ++index) {
    OpenChunk chunk;
    chunk.open({index, Turn::kFirst, {0, kPages}});
    std::mutex mutex;
    std::vector<int> taken(kPages);
    const auto note = [&](const OpenChunk::Part& part) {
      std::lock_guard lock(mutex);
      for (uint64_t i = 0; i < part.pages.page_count; ++i) ++taken[part.pages.first_page + i];
    };
    {
      std::jthread owner([&] {
        while (const auto part = chunk.bite(16)) note(*part);
      });
      std::jthread other([&] {
        while (const auto part = chunk.take_over(1)) note(*part);
      });
    }
    EXPECT_EQ(taken, std::vector<int>(kPages, 1));
  }
}

}  // namespace
}  // namespace godwit::precopy
