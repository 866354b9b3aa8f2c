// SPDX-License-Identifier: Apache-2.0
//
// What a bench measures, in which order and for how long: pure functions of what was asked for.
//
// First how many lanes it takes, with transfers of 1 MiB; then, with so many, every size. What a
// sweep varies beyond that (rails alone, NUMA nodes) is measured at one size of each kind, since
// the product of everything would take minutes and nobody would read it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/time.h"
#include "engine/base/units.h"
#include "engine/qualify/bench_report.h"

namespace godwit::qualify {

struct BenchOptions {
  // Empty: as the functions below say.
  std::vector<uint32_t> sizes_bytes = {};
  std::vector<uint32_t> lanes = {};
  std::vector<uint32_t> depths = {};
  std::vector<int> memory_nodes = {kAnyNode};  // here; at least one
  std::vector<int> peer_memory_nodes = {kAnyNode};
  uint64_t memory_bytes = 128 * kMiB;  // of each node, at each end
  Clock::duration time = seconds(20);  // for all together
};

inline constexpr uint32_t kTransferBytesMax = 16 * kMiB;
inline constexpr uint32_t kBenchLanesMax = 64;
inline constexpr uint32_t kLanesToTryMax = 8;  // where nobody says how many
inline constexpr uint32_t kBenchDepthMax = 1024;
// Of a transfer that is no matter of latency.
inline constexpr uint32_t kBulkBytes = 1 * kMiB;
inline constexpr uint32_t kPageBytes = 4 * kKiB;
inline constexpr uint32_t kMessageBytes = 64;

// 4 KiB to 16 MiB, in steps of four.
std::vector<uint32_t> sizes_of(const BenchOptions& options);

// Of any cell.
uint32_t largest_transfer_bytes(const BenchOptions& options);

// Transfers under way on each lane: enough bytes to fill a long link, few enough to be done soon on
// a slow one.
uint32_t depth_for(uint32_t size_bytes);

// How many lanes are tried, given the CPUs of this host: rising, at least one.
std::vector<uint32_t> lanes_to_try(const BenchOptions& options, uint32_t cpus);

// The fewest lanes that are nearly as fast as the fastest. Requires: at least one result.
uint32_t choose_lanes(std::span<const BandwidthResult> tried);

// Ways to go: all paths together, and each alone if there are several.
struct Places {
  size_t path_count = 1;
  uint32_t lanes = 1;  // chosen
};
std::vector<Cell> lane_trials(const BenchOptions& options, const Places& places, uint32_t cpus);
std::vector<Cell> bandwidth_cells(const BenchOptions& options, const Places& places);
std::vector<Cell> latency_cells(const BenchOptions& options, const Places& places);

// Each cell's share of the time.
StopRule rule_for(const BenchOptions& options, size_t cells);

}  // namespace godwit::qualify
