// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/lane_placement.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/base/units.h"

namespace godwit {
namespace {

constexpr uint64_t kBlockBytes = 64 * kMiB;

class LanePlacement : public testing::Test {
 protected:
  // Only sizes and nodes are looked at.
  GuestBlock block_on(int node) {
    return {.name = "ram",
            .page_size_bytes = kBasePageBytes,
            .numa_node = node,
            .memory = {static_cast<std::byte*>(nullptr), kBlockBytes},
            .fd = -1,
            .fd_offset_bytes = 0};
  }
  void add_rail(int source_node, int destination_node) {
    const size_t position = facts_.pairs.size();
    facts_.pairs.push_back({position, position, {}});
    facts_.source.rails.push_back({.name = "here", .node = source_node});
    facts_.destination.rails.push_back({.name = "there", .node = destination_node});
  }
  std::vector<uint32_t> homes() {
    const precopy::ChunkQueue queue(memory_, facts_.pairs.size(), facts_.pairs.size());
    return choose_home_rails(queue.chunks(), memory_, facts_);
  }

  GuestMemory memory_;
  PlacementFacts facts_;
};

TEST_F(LanePlacement, SendsEachNodesPagesByItsOwnRail) {
  memory_ = {block_on(0), block_on(1)};
  facts_.block_nodes_there = {-1, -1};
  add_rail(1, -1);
  add_rail(0, -1);

  const std::vector<uint32_t> homes = this->homes();

  const auto half = static_cast<ptrdiff_t>(homes.size() / 2);
  EXPECT_TRUE(std::all_of(homes.begin(), homes.begin() + half, [](uint32_t r) { return r == 1; }));
  EXPECT_TRUE(std::all_of(homes.begin() + half, homes.end(), [](uint32_t r) { return r == 0; }));
}

TEST_F(LanePlacement, CountsTheWayAtTheDestinationAsWell) {
  memory_ = {block_on(-1)};
  facts_.block_nodes_there = {1};
  add_rail(0, 0);
  add_rail(0, 1);

  const std::vector<uint32_t> homes = this->homes();

  EXPECT_TRUE(std::ranges::all_of(homes, [](uint32_t rail) { return rail == 1; }));
}

TEST_F(LanePlacement, SharesPagesOutOverRailsThatAreEquallyNear) {
  memory_ = {block_on(0)};
  facts_.block_nodes_there = {0};
  add_rail(0, 0);
  add_rail(1, 1);
  add_rail(0, 0);

  const std::vector<uint32_t> homes = this->homes();

  EXPECT_EQ(std::ranges::count(homes, 0U), static_cast<ptrdiff_t>(homes.size() / 2));
  EXPECT_EQ(std::ranges::count(homes, 1U), 0);
}

}  // namespace
}  // namespace godwit
