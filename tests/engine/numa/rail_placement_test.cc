// SPDX-License-Identifier: Apache-2.0
#include "engine/numa/rail_placement.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/base/check.h"

namespace godwit::numa {
namespace {

std::vector<Rail> rails_on(const std::vector<int>& nodes) {
  std::vector<Rail> rails;
  for (const int node : nodes)
    rails.push_back({"rail" + std::to_string(rails.size()), node, std::nullopt});
  return rails;
}

std::vector<size_t> destinations(const std::vector<RailPair>& pairs) {
  std::vector<size_t> positions;
  for (size_t i = 0; i < pairs.size(); i++) {
    CHECK(pairs[i].source == i);
    positions.push_back(pairs[i].destination);
  }
  return positions;
}

std::vector<size_t> positions(const std::vector<RankedRail>& ranked) {
  std::vector<size_t> positions;
  for (const RankedRail& rail : ranked) positions.push_back(rail.position);
  return positions;
}

std::vector<CpuList> cpus(const std::vector<LanePlacement>& placements) {
  std::vector<CpuList> cpus;
  for (const LanePlacement& placement : placements) cpus.push_back(placement.cpus);
  return cpus;
}

Topology recorded(const std::string& name) {
  Result<Topology> topology =
      Topology::from_xml_file(std::string(GODWIT_RECORDED_TOPOLOGIES) + "/" + name);
  CHECK(topology.has_value());
  return std::move(*topology);
}

using Positions = std::vector<size_t>;

TEST(PairRails, FollowsTheOrderWhenNothingIsKnown) {
  const std::vector<Rail> rails = rails_on({kUnknownNode, kUnknownNode, kUnknownNode});

  EXPECT_EQ(destinations(pair_rails(rails, rails, {})), (Positions{0, 1, 2}));
}

TEST(PairRails, PrefersTheSameNodeToTheOrder) {
  const std::vector<RailPair> pairs = pair_rails(rails_on({0, 1}), rails_on({1, 0}), {});

  EXPECT_EQ(destinations(pairs), (Positions{1, 0}));
  EXPECT_EQ(pairs[0].reason, "both on node 0");
}

TEST(PairRails, PrefersReachToTheSameNode) {
  const std::vector<RailPair> pairs =
      pair_rails(rails_on({0, 1}), rails_on({0, 1}), {{false, true}, {true, false}});

  EXPECT_EQ(destinations(pairs), (Positions{1, 0}));
  EXPECT_EQ(pairs[0].reason, "on one subnet");
}

TEST(PairRails, OneRailGivesWayWhenAnotherHasNoChoice) {
  const std::vector<RailPair> pairs =
      pair_rails(rails_on({0, 0}), rails_on({0, 1}), {{true, true}, {true, false}});

  EXPECT_EQ(destinations(pairs), (Positions{1, 0}));
}

TEST(PairRails, UsesEachDestinationBeforeAnyTwice) {
  const std::vector<RailPair> pairs = pair_rails(rails_on({0, 0, 0}), rails_on({0, 1}),
                                                 {{true, false}, {true, false}, {true, false}});

  Positions used = destinations(pairs);
  EXPECT_EQ(std::count(used.begin(), used.end(), 0U), 2);
  EXPECT_EQ(std::count(used.begin(), used.end(), 1U), 1);
}

TEST(PairRails, SharesOneDestinationAmongAll) {
  EXPECT_EQ(destinations(pair_rails(rails_on({0, 1, 2}), rails_on({1}), {})), (Positions{0, 0, 0}));
}

TEST(PairRails, TakesTheBestOfMoreDestinations) {
  EXPECT_EQ(destinations(pair_rails(rails_on({2}), rails_on({0, 1, 2, 3}), {})), (Positions{2}));
}

TEST(PairRails, WithoutRailsThereAreNoPairs) {
  EXPECT_TRUE(pair_rails(rails_on({0}), {}, {}).empty());
  EXPECT_TRUE(pair_rails({}, rails_on({0}), {}).empty());
}

TEST(RankRails, PagesTakeTheRailOfTheirNode) {
  const RailHost host{rails_on({0, 1}), {}};

  const std::vector<RankedRail> ranked = rank_rails(host, 1);

  EXPECT_EQ(positions(ranked), (Positions{1, 0}));
  EXPECT_EQ(ranked[0].cost, 10U);
  EXPECT_EQ(ranked[0].reason, "rail1: on the pages' own node");
  EXPECT_EQ(ranked[1].reason, "rail0: on node 0, at distance 20");
}

TEST(RankRails, UnknownNodeIsBetweenNearAndFar) {
  const RailHost host{rails_on({1, kUnknownNode, 0}), {}};

  EXPECT_EQ(positions(rank_rails(host, 0)), (Positions{2, 1, 0}));
  EXPECT_EQ(positions(rank_rails(host, kUnknownNode)), (Positions{0, 1, 2}));
}

TEST(RankRails, FasterRailIsFirstAmongEquals) {
  RailHost host{rails_on({0, 0, 0, 1}), {}};
  host.rails[1].bytes_per_s = 1'000;
  host.rails[2].bytes_per_s = 2'000;
  host.rails[3].bytes_per_s = 9'000;

  EXPECT_EQ(positions(rank_rails(host, 0)), (Positions{2, 1, 0, 3}));
}

TEST(RankRails, NodeWithoutANicUsesTheNearest) {
  const Topology ring = recorded("eight_nodes_ring.xml");
  RailHost host{{}, ring.distances};
  for (const Device& device : ring.devices)
    if (device.kind == Device::Kind::kRdma)
      host.rails.push_back({device.name, device.node, std::nullopt});

  EXPECT_EQ(host.rails[rank_rails(host, 0)[0].position].name, "mlx5_1");
  EXPECT_EQ(host.rails[rank_rails(host, 3)[0].position].name, "mlx5_4");
  EXPECT_EQ(host.rails[rank_rails(host, 7)[0].position].name, "mlx5_6");
  // Node 5 is as near to 4 as to 6: both may carry its pages.
  EXPECT_EQ(rank_rails(host, 5)[0].cost, rank_rails(host, 5)[1].cost);
}

TEST(RankRails, PackageNeighbourIsNearerThanTheOtherPackage) {
  const Topology four = recorded("four_nodes_two_packages.xml");
  const RailHost host{rails_on({0, 3, kUnknownNode}), four.distances};

  EXPECT_EQ(positions(rank_rails(host, 1)), (Positions{0, 2, 1}));
  EXPECT_EQ(positions(rank_rails(host, 2)), (Positions{1, 2, 0}));
}

TEST(RankPairs, CountsTheDistanceOnBothHosts) {
  const RailHost source{rails_on({0, 1}), {}};
  const RailHost destination{rails_on({0, 1}), NodeDistances({0, 1}, {10, 40, 40, 10})};
  const std::vector<RailPair> pairs = pair_rails(source.rails, destination.rails, {});

  const std::vector<RankedRail> ranked =
      rank_pairs(pairs, source, destination, {.source = 0, .destination = 1});

  // 20 + 10 is nearer than 10 + 40.
  EXPECT_EQ(positions(ranked), (Positions{1, 0}));
  EXPECT_EQ(ranked[0].cost, 30U);
  EXPECT_EQ(ranked[0].reason,
            "source rail1: on node 1, at distance 20; destination rail1: on the pages' own node");
}

TEST(RankPairs, UnknownDestinationLeavesTheSourceToDecide) {
  const RailHost source{rails_on({0, 1}), {}};
  const RailHost destination{rails_on({0, 1}), {}};
  const std::vector<RailPair> pairs = pair_rails(source.rails, destination.rails, {});

  EXPECT_EQ(positions(rank_pairs(pairs, source, destination, {.source = 1})), (Positions{1, 0}));
  EXPECT_EQ(positions(rank_pairs(pairs, source, destination, {.destination = 1})),
            (Positions{1, 0}));
}

TEST(RankPairs, IsAsFastAsTheSlowerOfTheTwo) {
  RailHost source{rails_on({0, 0}), {}};
  RailHost destination{rails_on({0, 0}), {}};
  source.rails[0].bytes_per_s = 9'000;
  destination.rails[0].bytes_per_s = 1'000;
  source.rails[1].bytes_per_s = 2'000;
  const std::vector<RailPair> pairs = pair_rails(source.rails, destination.rails, {});

  EXPECT_EQ(positions(rank_pairs(pairs, source, destination, {})), (Positions{1, 0}));
}

TEST(PlaceLanes, ShareOutTheCoresOfTheirNode) {
  const Topology two = *Topology::from_synthetic("pack:2 [numa] core:4 pu:2");

  const std::vector<int> nodes = {1, 0, 1};
  const std::vector<LanePlacement> lanes = place_lanes(two, nodes);

  EXPECT_EQ(cpus(lanes),
            (std::vector<CpuList>{{8, 9, 10, 11}, {0, 1, 2, 3, 4, 5, 6, 7}, {12, 13, 14, 15}}));
  EXPECT_EQ(lanes[1].reason, "beside its rail on node 0");
}

TEST(PlaceLanes, MeetOnACoreOnlyWhenThereAreMoreThanCores) {
  const Topology one = *Topology::from_synthetic("pack:1 [numa] core:2 pu:1");

  EXPECT_EQ(cpus(place_lanes(one, std::vector<int>{0, 0, 0})),
            (std::vector<CpuList>{{0}, {1}, {0}}));
}

TEST(PlaceLanes, UnevenSharesLoseNoCore) {
  const Topology one = *Topology::from_synthetic("pack:1 [numa] core:5 pu:1");

  EXPECT_EQ(cpus(place_lanes(one, std::vector<int>{0, 0})),
            (std::vector<CpuList>{{0, 1}, {2, 3, 4}}));
}

TEST(PlaceLanes, LaneOfAnUnknownNodeIsNotBound) {
  const Topology two = *Topology::from_synthetic("pack:2 [numa] core:1 pu:1");

  const std::vector<LanePlacement> lanes = place_lanes(two, std::vector<int>{kUnknownNode});

  EXPECT_TRUE(lanes[0].cpus.empty());
  EXPECT_EQ(lanes[0].reason, "not bound: the node of its rail is not known");
}

TEST(PlaceLanes, NodeThatIsMemoryOnlyUsesTheNearestCores) {
  Topology topology;
  topology.nodes = {{0, 0, {{0}, {1}}}, {1, 0, {{2}, {3}}}, {2, 0, {}}};
  topology.distances = NodeDistances({0, 1, 2}, {10, 20, 28, 20, 10, 14, 28, 14, 10});

  const std::vector<LanePlacement> lanes = place_lanes(topology, std::vector<int>{2, 1});

  // The two share the cores that both use.
  EXPECT_EQ(cpus(lanes), (std::vector<CpuList>{{2}, {3}}));
  EXPECT_EQ(lanes[0].reason, "on node 1, the nearest to node 2 that has cores");
}

}  // namespace
}  // namespace godwit::numa
