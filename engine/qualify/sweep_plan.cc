// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/sweep_plan.h"

#include <algorithm>
#include <numeric>

#include "engine/base/check.h"

namespace godwit::qualify {
namespace {

constexpr uint64_t kUnderWayBytes = 4 * kMiB;
constexpr double kNearlyAsFast = 0.95;
// Where waiting is what is measured, transfers of more than this are a matter of bandwidth.
constexpr uint32_t kLatencyBytesMax = 1 * kMiB;

std::vector<size_t> all_paths(size_t count) {
  std::vector<size_t> paths(count);
  std::iota(paths.begin(), paths.end(), size_t{0});
  return paths;
}

Cell first_cell(const BenchOptions& options, const Places& places) {
  return {.paths = all_paths(places.path_count),
          .memory_node = options.memory_nodes.front(),
          .peer_memory_node = options.peer_memory_nodes.front()};
}

// The cell in every other place than its own: on each path alone, between each two nodes.
std::vector<Cell> elsewhere(const Cell& cell, const BenchOptions& options, const Places& places) {
  std::vector<std::vector<size_t>> ways = {cell.paths};
  if (places.path_count > 1) {
    for (size_t path = 0; path < places.path_count; ++path) ways.push_back({path});
  }
  std::vector<Cell> cells;
  for (const std::vector<size_t>& way : ways) {
    for (const int node : options.memory_nodes) {
      for (const int peer_node : options.peer_memory_nodes) {
        Cell other = cell;
        other.paths = way;
        other.memory_node = node;
        other.peer_memory_node = peer_node;
        const bool same =
            way == cell.paths && node == cell.memory_node && peer_node == cell.peer_memory_node;
        if (!same) cells.push_back(other);
      }
    }
  }
  return cells;
}

}  // namespace

std::vector<uint32_t> sizes_of(const BenchOptions& options) {
  if (!options.sizes_bytes.empty()) return options.sizes_bytes;
  std::vector<uint32_t> sizes;
  for (uint32_t size = kPageBytes; size <= kTransferBytesMax; size *= 4) sizes.push_back(size);
  return sizes;
}

uint32_t largest_transfer_bytes(const BenchOptions& options) {
  return std::max(kBulkBytes, std::ranges::max(sizes_of(options)));
}

uint32_t depth_for(uint32_t size_bytes) {
  return static_cast<uint32_t>(std::clamp<uint64_t>(kUnderWayBytes / size_bytes, 2, 64));
}

std::vector<uint32_t> lanes_to_try(const BenchOptions& options, uint32_t cpus) {
  if (!options.lanes.empty()) return options.lanes;
  std::vector<uint32_t> lanes;
  for (uint32_t count = 1; count <= std::clamp<uint32_t>(cpus, 1, kLanesToTryMax); count *= 2)
    lanes.push_back(count);
  return lanes;
}

uint32_t choose_lanes(std::span<const BandwidthResult> tried) {
  CHECK(!tried.empty());
  double best = 0;
  for (const BandwidthResult& result : tried) best = std::max(best, result.bandwidth.bytes_per_s);
  uint32_t fewest = kBenchLanesMax;
  for (const BandwidthResult& result : tried) {
    if (result.bandwidth.bytes_per_s >= kNearlyAsFast * best)
      fewest = std::min(fewest, result.cell.lanes);
  }
  return fewest;
}

std::vector<Cell> lane_trials(const BenchOptions& options, const Places& places, uint32_t cpus) {
  std::vector<Cell> cells;
  for (const uint32_t lanes : lanes_to_try(options, cpus)) {
    Cell cell = first_cell(options, places);
    cell.size_bytes = kBulkBytes;
    cell.depth = depth_for(kBulkBytes);
    // A lane on every rail at least.
    cell.lanes = std::max(lanes, static_cast<uint32_t>(places.path_count));
    if (cells.empty() || cells.back().lanes != cell.lanes) cells.push_back(cell);
  }
  return cells;
}

std::vector<Cell> bandwidth_cells(const BenchOptions& options, const Places& places) {
  std::vector<Cell> cells;
  for (const Verb verb : {Verb::kWrite, Verb::kRead}) {
    Cell cell = first_cell(options, places);
    cell.verb = verb;
    cell.lanes = places.lanes;
    for (const uint32_t size : sizes_of(options)) {
      cell.size_bytes = size;
      const std::vector<uint32_t> depths =
          options.depths.empty() ? std::vector<uint32_t>{depth_for(size)} : options.depths;
      for (const uint32_t depth : depths) {
        cell.depth = depth;
        cells.push_back(cell);
      }
    }
    cell.size_bytes = kBulkBytes;
    cell.depth = depth_for(kBulkBytes);
    const std::vector<Cell> others = elsewhere(cell, options, places);
    cells.insert(cells.end(), others.begin(), others.end());
  }
  return cells;
}

std::vector<Cell> latency_cells(const BenchOptions& options, const Places& places) {
  std::vector<Cell> cells;
  Cell cell = first_cell(options, places);
  cell.paths = {0};
  for (const Verb verb : {Verb::kWrite, Verb::kRead}) {
    cell.verb = verb;
    for (const uint32_t size : sizes_of(options)) {
      cell.size_bytes = size;
      if (size <= kLatencyBytesMax) cells.push_back(cell);
    }
    cell.size_bytes = kPageBytes;
    for (const Cell& other : elsewhere(cell, options, places)) {
      if (other.paths.size() == 1) cells.push_back(other);
    }
  }
  cell.verb = Verb::kMessage;
  cell.size_bytes = kMessageBytes;
  cells.push_back(cell);
  cell.verb = Verb::kFault;
  cell.size_bytes = kPageBytes;
  cells.push_back(cell);
  cell.load = Load::kFull;
  cell.paths = all_paths(places.path_count);
  cell.lanes = places.lanes;  // and one for the faults
  cells.push_back(cell);
  return cells;
}

StopRule rule_for(const BenchOptions& options, size_t cells) {
  const Clock::duration share = options.time / static_cast<int64_t>(std::max<size_t>(cells, 1));
  StopRule rule;
  rule.time_max = std::max<Clock::duration>(share, milliseconds(100));
  rule.time_min = std::min<Clock::duration>(rule.time_min, rule.time_max);
  return rule;
}

}  // namespace godwit::qualify
