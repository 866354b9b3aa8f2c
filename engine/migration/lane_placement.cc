// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/lane_placement.h"

#include <map>
#include <utility>

#include "engine/numa/page_location.h"

namespace godwit {
namespace {

// Where the pages lie: where the layout puts the block, else where they are found.
int node_of(const precopy::Chunk& chunk, const GuestBlock& block) {
  if (block.numa_node >= 0) return block.numa_node;
  if (block.owner_address == 0) return numa::kUnknownNode;
  const uint64_t offset = chunk.pages.first_page * block.page_size_bytes;
  return numa::find_node({.pid = block.owner,
                          .start = block.owner_address + offset,
                          .size_bytes = chunk.pages.page_count * block.page_size_bytes})
      .value_or(numa::kUnknownNode);
}

// The rails that share the pages of two nodes.
std::vector<uint32_t> nearest_rails(const PlacementFacts& facts, numa::PageNodes nodes) {
  std::vector<uint32_t> nearest;
  const std::vector<numa::RankedRail> ranked =
      numa::rank_pairs(facts.pairs, facts.source, facts.destination, nodes);
  for (const numa::RankedRail& rail : ranked) {
    if (rail.cost == ranked.front().cost) nearest.push_back(static_cast<uint32_t>(rail.position));
  }
  return nearest;
}

}  // namespace

std::vector<uint32_t> choose_home_rails(std::span<const precopy::Chunk> chunks,
                                        const GuestMemory& memory, const PlacementFacts& facts) {
  std::vector<uint32_t> homes;
  homes.reserve(chunks.size());
  struct Turns {
    std::vector<uint32_t> rails;
    size_t next = 0;
  };
  std::map<std::pair<int, int>, Turns> by_nodes;
  for (const precopy::Chunk& chunk : chunks) {
    const bool alone = facts.pairs.size() == 1;
    const numa::PageNodes nodes{
        .source = alone ? numa::kUnknownNode : node_of(chunk, memory[chunk.block]),
        .destination = facts.block_nodes_there[chunk.block]};
    Turns& turns = by_nodes[{nodes.source, nodes.destination}];
    if (turns.rails.empty()) turns.rails = nearest_rails(facts, nodes);
    homes.push_back(turns.rails[turns.next++ % turns.rails.size()]);
  }
  return homes;
}

}  // namespace godwit
