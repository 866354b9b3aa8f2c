// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/sweep_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace godwit::qualify {
namespace {

BandwidthResult tried(uint32_t lanes, double bytes_per_s) {
  BandwidthResult result;
  result.cell.lanes = lanes;
  result.bandwidth.bytes_per_s = bytes_per_s;
  return result;
}

TEST(SweepPlan, FewestLanesThatAreNearlyAsFastAreChosen) {
  EXPECT_EQ(choose_lanes(std::vector{tried(1, 5e9), tried(2, 9.8e9), tried(4, 10e9)}), 2U);
  EXPECT_EQ(choose_lanes(std::vector{tried(1, 10e9), tried(2, 8e9)}), 1U);
  EXPECT_EQ(choose_lanes(std::vector{tried(3, 1e9)}), 3U);
}

TEST(SweepPlan, LanesAreTriedUpToTheCpus) {
  EXPECT_EQ(lanes_to_try({}, 1), (std::vector<uint32_t>{1}));
  EXPECT_EQ(lanes_to_try({}, 6), (std::vector<uint32_t>{1, 2, 4}));
  EXPECT_EQ(lanes_to_try({}, 128), (std::vector<uint32_t>{1, 2, 4, 8}));
  EXPECT_EQ(lanes_to_try({.lanes = {3, 5}}, 1), (std::vector<uint32_t>{3, 5}));
}

TEST(SweepPlan, EverySizeIsWrittenAndRead) {
  std::set<std::pair<Verb, uint32_t>> seen;
  for (const Cell& cell : bandwidth_cells({}, {.path_count = 1, .lanes = 2})) {
    EXPECT_EQ(cell.lanes, 2U);
    EXPECT_GE(cell.depth, 2U);
    seen.insert({cell.verb, cell.size_bytes});
  }
  EXPECT_EQ(seen.size(), 2 * sizes_of({}).size());
  EXPECT_TRUE(seen.contains({Verb::kRead, 4096}) && seen.contains({Verb::kWrite, 16 << 20}));
}

TEST(SweepPlan, LatencyIsOfOneLaneAndOfSizesThatSomebodyWaitsFor) {
  const std::vector<Cell> cells = latency_cells({}, {.path_count = 1, .lanes = 4});
  EXPECT_TRUE(
      std::ranges::all_of(cells, [](const Cell& cell) { return cell.size_bytes <= 1 << 20; }));
  EXPECT_EQ(std::ranges::count(cells, 1U, &Cell::lanes), std::ssize(cells) - 1);
  EXPECT_EQ(cells.back().load, Load::kFull);
  EXPECT_EQ(std::ranges::count(cells, Verb::kMessage, &Cell::verb), 1);
}

TEST(SweepPlan, SeveralPathsAreMeasuredTogetherAndEachAlone) {
  std::set<std::vector<size_t>> ways;
  for (const Cell& cell : bandwidth_cells({}, {.path_count = 2, .lanes = 2}))
    ways.insert(cell.paths);
  EXPECT_EQ(ways, (std::set<std::vector<size_t>>{{0}, {1}, {0, 1}}));
}

TEST(SweepPlan, NodesAreMeasuredBetweenEachTwo) {
  const BenchOptions options{
      .sizes_bytes = {65536}, .memory_nodes = {0, 1}, .peer_memory_nodes = {0, 1}};
  std::set<std::pair<int, int>> pairs;
  for (const Cell& cell : latency_cells(options, {.path_count = 1, .lanes = 1}))
    pairs.insert({cell.memory_node, cell.peer_memory_node});
  EXPECT_EQ(pairs.size(), 4U);
}

TEST(SweepPlan, TheTimeIsSharedAmongTheCells) {
  EXPECT_EQ(rule_for({.time = seconds(30)}, 30).time_max, seconds(1));
  EXPECT_EQ(rule_for({.time = seconds(1)}, 100).time_max, milliseconds(100));
  EXPECT_LE(rule_for({.time = seconds(1)}, 100).time_min, milliseconds(100));
}

}  // namespace
}  // namespace godwit::qualify
