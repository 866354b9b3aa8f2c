// SPDX-License-Identifier: Apache-2.0
//
// Which rail a page takes, and who carries it. A rail is a device that pages leave or arrive by,
// and a lane's way is a pair of them, one on each host. Pure functions of plain data: they touch no
// device, thread or memory, and give a reason with each choice, for people.
//
// A page that leaves by a device of another node crosses the link between the nodes, which all
// guests of the host share with it; the same again where it arrives. So the measure is the
// distance from the page's memory to the device, on both hosts, and everything else decides only
// between equals.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/numa/node_distances.h"
#include "engine/numa/topology.h"

namespace godwit::numa {

struct Rail {
  std::string name;
  int node = kUnknownNode;
  std::optional<uint64_t> bytes_per_s;  // as measured
};

// One host's rails. Elsewhere a rail is named by its position in the list.
struct RailHost {
  std::vector<Rail> rails;
  NodeDistances distances;
};

struct RailPair {
  size_t source;
  size_t destination;
  std::string reason;
};

// reaches[source][destination]: whether the two are on one subnet. Empty: nothing is known.
using RailReach = std::vector<std::vector<bool>>;

// Returns one pair for each source rail, in their order; none where the destination has no rail.
// No destination rail has two more pairs than another. Under that rule as many pairs as possible
// reach each other, as many of those as possible are on nodes of the same number, and what is left
// follows the order of the lists.
//
// Requires: `reaches` is empty, or has a row per source rail and in it a value per destination
// rail.
std::vector<RailPair> pair_rails(std::span<const Rail> source, std::span<const Rail> destination,
                                 const RailReach& reaches);

// Where a page is, and where it shall be; either may be kUnknownNode.
struct PageNodes {
  int source = kUnknownNode;
  int destination = kUnknownNode;
};

struct RankedRail {
  size_t position;  // in the list that was ranked
  uint32_t cost;    // the distance; rails of equal cost may share the pages
  std::string reason;
};

// Returns the pairs from the nearest to the farthest for pages of these nodes. Among equals the
// faster one is first, one that was not measured after those that were, and then comes their order.
std::vector<RankedRail> rank_pairs(std::span<const RailPair> pairs, const RailHost& source,
                                   const RailHost& destination, PageNodes pages);

// The same for the rails of one host, as long as the other is not known.
std::vector<RankedRail> rank_rails(const RailHost& host, int page_node);

struct LanePlacement {
  CpuList cpus;  // where the lane's thread may run; empty: wherever it likes
  std::string reason;
};

// Returns where the thread of each lane runs, given the node of each lane's rail. The lanes of a
// node share out its cores, so that two of them meet on one core only when there are more lanes
// than cores. A node without cores uses those of the nearest that has some.
std::vector<LanePlacement> place_lanes(const Topology& topology, std::span<const int> lane_nodes);

}  // namespace godwit::numa
