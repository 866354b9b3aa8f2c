// SPDX-License-Identifier: Apache-2.0
//
// Which rail each part of guest memory is at home on, and where lane threads run: the rules of
// engine/numa, applied to this guest and this pair of hosts.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/memory/guest_memory.h"
#include "engine/numa/rail_placement.h"
#include "engine/precopy/chunk_queue.h"

namespace godwit {

// Both hosts, as far as the source knows them.
struct PlacementFacts {
  numa::RailHost source;
  numa::RailHost destination;
  std::vector<numa::RailPair> pairs;       // one per rail that pages are at home on
  std::vector<int32_t> block_nodes_there;  // where each block lies at the destination
};

// Returns the rail of each chunk: the nearest to where its pages lie and will lie. Rails that are
// equally near take turns. Requires: at least one pair.
std::vector<uint32_t> choose_home_rails(std::span<const precopy::Chunk> chunks,
                                        const GuestMemory& memory, const PlacementFacts& facts);

}  // namespace godwit
