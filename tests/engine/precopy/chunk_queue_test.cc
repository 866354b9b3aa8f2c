// SPDX-License-Identifier: Apache-2.0
#include "engine/precopy/chunk_queue.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "engine/base/units.h"

namespace godwit::precopy {
namespace {

GuestMemory memory_of(uint64_t bytes) {
  return {{.name = "ram",
           .page_size_bytes = kBasePageBytes,
           .numa_node = -1,
           .memory = {static_cast<std::byte*>(nullptr), bytes},
           .fd = -1,
           .fd_offset_bytes = 0}};
}

TEST(ChunkQueue, GivesEveryChunkOnceHoweverManyTake) {
  ChunkQueue queue(memory_of(256 * kMiB), 3, 2);
  std::mutex mutex;
  std::multiset<ChunkIndex> taken;
  {
    std::vector<std::jthread> threads;
    for (size_t rail = 0; rail < 3; ++rail) {
      threads.emplace_back([&, rail] {
        while (const auto chunk = queue.take(rail)) {
          std::lock_guard lock(mutex);
          taken.insert(chunk->index);
        }
      });
    }
  }
  EXPECT_EQ(taken.size(), queue.chunks().size());
  EXPECT_EQ(std::set<ChunkIndex>(taken.begin(), taken.end()).size(), taken.size());
  EXPECT_FALSE(queue.has_work());
}

TEST(ChunkQueue, GivesARailItsOwnFirstAndThenWhatOthersHaveLeft) {
  ChunkQueue queue(memory_of(40 * kMiB), 2, 2);
  std::vector<uint32_t> homes(queue.chunks().size(), 1);
  homes[7] = 0;
  queue.set_homes(homes);

  const auto own = queue.take(0);
  const auto anothers = queue.take(0);
  EXPECT_EQ(own->index, 7U);
  EXPECT_EQ(own->share, Share::kOwn);
  EXPECT_EQ(anothers->index, 0U);
  EXPECT_EQ(anothers->share, Share::kAnothers);
  EXPECT_EQ(queue.take(1)->index, 1U);
}

TEST(ChunkQueue, GivesWhatWasPutBackAgainAndSaysSo) {
  ChunkQueue queue(memory_of(8 * kMiB), 2, 2);
  while (const auto chunk = queue.take(0)) EXPECT_EQ(chunk->turn, Turn::kFirst);
  const std::vector<ChunkIndex> lost{1};

  queue.put_back(lost);

  EXPECT_TRUE(queue.has_work());
  const auto again = queue.take(1);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->index, 1U);
  EXPECT_EQ(again->turn, Turn::kAgain);
  EXPECT_FALSE(queue.take(0));
}

TEST(ChunkQueue, StartsAnewForEachRound) {
  ChunkQueue queue(memory_of(16 * kMiB), 1, 1);
  while (queue.take(0)) {
  }
  const std::vector<ChunkIndex> lost{0};
  queue.put_back(lost);

  queue.refill();

  size_t count = 0;
  while (const auto chunk = queue.take(0)) {
    EXPECT_EQ(chunk->turn, Turn::kFirst);
    ++count;
  }
  EXPECT_EQ(count, queue.chunks().size());
}

}  // namespace
}  // namespace godwit::precopy
