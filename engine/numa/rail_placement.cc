// SPDX-License-Identifier: Apache-2.0
#include "engine/numa/rail_placement.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <utility>

#include "engine/base/check.h"
#include "engine/numa/assignment.h"

namespace godwit::numa {
namespace {

bool reach(const RailReach& reaches, size_t source, size_t destination) {
  return !reaches.empty() && reaches[source][destination];
}

bool same_node(const Rail& one, const Rail& other) {
  return one.node != kUnknownNode && one.node == other.node;
}

std::string pair_reason(const Rail& source, const Rail& destination, bool reached) {
  std::string reason = reached ? "on one subnet" : "";
  if (same_node(source, destination))
    reason += fmt::format("{}both on node {}", reason.empty() ? "" : ", ", source.node);
  return reason.empty() ? "by their order" : reason;
}

// Costs whose sum is smallest for the pairs that pair_rails() promises. A rule weighs more than all
// rules after it together. Each destination rail has a column for each time it may be used.
std::vector<std::vector<int64_t>> pair_costs(std::span<const Rail> source,
                                             std::span<const Rail> destination,
                                             const RailReach& reaches) {
  const auto pairs = static_cast<int64_t>(source.size());
  const auto longest = static_cast<int64_t>(std::max(source.size(), destination.size()));
  const int64_t other_node = pairs * longest * longest + 1;
  const int64_t not_reached = other_node * (pairs + 1);
  const int64_t used_again = not_reached * (pairs + 1);
  const size_t uses = (source.size() + destination.size() - 1) / destination.size();

  std::vector<std::vector<int64_t>> costs(source.size());
  for (size_t from = 0; from < source.size(); from++) {
    for (size_t column = 0; column < uses * destination.size(); column++) {
      const size_t to = column % destination.size();
      // Squared, so that pairs in the lists' order are cheaper than pairs that cross.
      const int64_t apart = static_cast<int64_t>(from) - static_cast<int64_t>(to);
      int64_t cost = apart * apart;
      if (!same_node(source[from], destination[to])) cost += other_node;
      if (!reach(reaches, from, to)) cost += not_reached;
      cost += static_cast<int64_t>(column / destination.size()) * used_again;
      costs[from].push_back(cost);
    }
  }
  return costs;
}

// "node 1, the pages' own", "node 1 from node 0: distance 20".
std::string way_reason(const Rail& rail, int page_node, uint32_t distance) {
  if (rail.node == kUnknownNode) return fmt::format("{}: its node is not known", rail.name);
  if (page_node == kUnknownNode) return fmt::format("{}: the pages' node is not known", rail.name);
  if (rail.node == page_node) return fmt::format("{}: on the pages' own node", rail.name);
  return fmt::format("{}: on node {}, at distance {}", rail.name, rail.node, distance);
}

struct Candidate {
  RankedRail ranked;
  std::optional<uint64_t> bytes_per_s;
};

std::vector<RankedRail> rank(std::vector<Candidate> candidates) {
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& one, const Candidate& other) {
                     if (one.ranked.cost != other.ranked.cost)
                       return one.ranked.cost < other.ranked.cost;
                     return one.bytes_per_s > other.bytes_per_s;  // nothing is less than any speed
                   });
  std::vector<RankedRail> ranked;
  ranked.reserve(candidates.size());
  for (Candidate& candidate : candidates) ranked.push_back(std::move(candidate.ranked));
  return ranked;
}

// As fast as the slower of the two, as far as it is known.
std::optional<uint64_t> speed_of_pair(const Rail& source, const Rail& destination) {
  if (!source.bytes_per_s || !destination.bytes_per_s)
    return source.bytes_per_s ? source.bytes_per_s : destination.bytes_per_s;
  return std::min(*source.bytes_per_s, *destination.bytes_per_s);
}

// Returns the node whose cores serve `node`, or nullptr.
const NumaNode* nearest_with_cores(const Topology& topology, int node) {
  const NumaNode* nearest = nullptr;
  for (const NumaNode& other : topology.nodes) {
    if (other.cores.empty()) continue;
    if (nearest == nullptr || topology.distances.between(node, other.number) <
                                  topology.distances.between(node, nearest->number)) {
      nearest = &other;
    }
  }
  return nearest;
}

// The CPUs of the share number `index` of `count` shares of the cores.
CpuList share_of_cores(const std::vector<CpuList>& cores, size_t index, size_t count) {
  size_t first = index * cores.size() / count;
  size_t end = (index + 1) * cores.size() / count;
  if (count > cores.size()) {
    first = index % cores.size();
    end = first + 1;
  }
  CpuList cpus;
  for (size_t core = first; core < end; core++)
    cpus.insert(cpus.end(), cores[core].begin(), cores[core].end());
  std::sort(cpus.begin(), cpus.end());
  return cpus;
}

}  // namespace

std::vector<RailPair> pair_rails(std::span<const Rail> source, std::span<const Rail> destination,
                                 const RailReach& reaches) {
  CHECK(reaches.empty() || reaches.size() == source.size());
  for (const std::vector<bool>& row : reaches) CHECK(row.size() == destination.size());
  if (destination.empty()) return {};

  const std::vector<size_t> columns = assign_cheapest(pair_costs(source, destination, reaches));
  std::vector<RailPair> pairs;
  for (size_t from = 0; from < source.size(); from++) {
    const size_t to = columns[from] % destination.size();
    pairs.push_back(
        {from, to, pair_reason(source[from], destination[to], reach(reaches, from, to))});
  }
  return pairs;
}

std::vector<RankedRail> rank_pairs(std::span<const RailPair> pairs, const RailHost& source,
                                   const RailHost& destination, PageNodes pages) {
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < pairs.size(); i++) {
    CHECK(pairs[i].source < source.rails.size());
    CHECK(pairs[i].destination < destination.rails.size());
    const Rail& leaving = source.rails[pairs[i].source];
    const Rail& arriving = destination.rails[pairs[i].destination];
    const uint32_t out = source.distances.between(pages.source, leaving.node);
    const uint32_t in = destination.distances.between(arriving.node, pages.destination);
    candidates.push_back(
        {{i, out + in,
          fmt::format("source {}; destination {}", way_reason(leaving, pages.source, out),
                      way_reason(arriving, pages.destination, in))},
         speed_of_pair(leaving, arriving)});
  }
  return rank(std::move(candidates));
}

std::vector<RankedRail> rank_rails(const RailHost& host, int page_node) {
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < host.rails.size(); i++) {
    const Rail& rail = host.rails[i];
    const uint32_t distance = host.distances.between(page_node, rail.node);
    candidates.push_back({{i, distance, way_reason(rail, page_node, distance)}, rail.bytes_per_s});
  }
  return rank(std::move(candidates));
}

std::vector<LanePlacement> place_lanes(const Topology& topology, std::span<const int> lane_nodes) {
  // Lanes share cores by the node that these are of, not by the node they were asked on.
  std::vector<const NumaNode*> homes;
  std::map<const NumaNode*, size_t> lane_counts;
  for (const int node : lane_nodes) {
    homes.push_back(node == kUnknownNode ? nullptr : nearest_with_cores(topology, node));
    lane_counts[homes.back()]++;
  }

  std::vector<LanePlacement> placements;
  std::map<const NumaNode*, size_t> placed_counts;
  for (size_t lane = 0; lane < lane_nodes.size(); lane++) {
    const NumaNode* home = homes[lane];
    if (home == nullptr) {
      placements.push_back({{}, "not bound: the node of its rail is not known"});
      continue;
    }
    const size_t index = placed_counts[home]++;
    std::string reason = fmt::format("beside its rail on node {}", lane_nodes[lane]);
    if (home->number != lane_nodes[lane])
      reason = fmt::format("on node {}, the nearest to node {} that has cores", home->number,
                           lane_nodes[lane]);
    placements.push_back({share_of_cores(home->cores, index, lane_counts[home]), reason});
  }
  return placements;
}

}  // namespace godwit::numa
