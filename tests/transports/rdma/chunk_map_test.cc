// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/chunk_map.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/base/units.h"
#include "engine/transport.h"

namespace godwit {
namespace {

constexpr uint64_t kHugePage = 2 * kMiB;

class ChunkMapOf : public testing::TestWithParam<uint64_t> {};

INSTANTIATE_TEST_SUITE_P(Sizes, ChunkMapOf,
                         testing::Values(4 * kKiB, kHugePage - 4 * kKiB, kHugePage,
                                         kHugePage + 4 * kKiB, 100 * kMiB, 4 * kGiB + 4 * kKiB,
                                         64 * kGiB, 1024 * kGiB, 12 * 1024 * kGiB));

TEST_P(ChunkMapOf, CoversEveryByteOnce) {
  const ChunkMap map(GetParam());
  ASSERT_EQ(map.begin(0), 0U);
  for (size_t chunk = 0; chunk < map.count(); ++chunk) {
    ASSERT_LT(map.begin(chunk), map.end(chunk));
    if (chunk > 0) {
      ASSERT_EQ(map.begin(chunk), map.end(chunk - 1));
    }
    if (map.begin(chunk) >= kHugePage) {
      ASSERT_EQ(map.begin(chunk) % kHugePage, 0U);
    }
    ASSERT_EQ(map.index_of(map.begin(chunk)), chunk);
    ASSERT_EQ(map.index_of(map.end(chunk) - 1), chunk);
  }
  EXPECT_EQ(map.end(map.count() - 1), GetParam());
}

TEST_P(ChunkMapOf, StartsSmallAndNeedsFew) {
  const ChunkMap map(GetParam());
  EXPECT_LE(map.end(0), 256 * kKiB);
  EXPECT_LE(map.count(), 4300U);
}

// So that a request per chunk that it lies in is bounded.
TEST(ChunkMap, PutsNoOperationIntoMoreThanTwoChunks) {
  const ChunkMap map(64 * kGiB);
  for (size_t chunk = 0; chunk + 1 < map.count(); ++chunk)
    ASSERT_GE(map.end(chunk) - map.begin(chunk), kOperationBytesMax);
}

TEST(ChunkMap, PinsLittleAheadOfWhatIsUsed) {
  const ChunkMap map(64 * kGiB);
  for (size_t chunk = 0; chunk < map.count(); ++chunk) {
    const uint64_t size = map.end(chunk) - map.begin(chunk);
    EXPECT_LE(size, std::max(kHugePage, map.begin(chunk) / 8 + kHugePage));
    EXPECT_LE(size, 64 * kMiB);
  }
}

}  // namespace
}  // namespace godwit
