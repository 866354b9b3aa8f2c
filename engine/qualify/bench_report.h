// SPDX-License-Identifier: Apache-2.0
//
// What a bench has found, as plain data. Rates are in bytes per second, GB and Gbit are decimal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/qualify/bench_memory.h"
#include "engine/qualify/statistics.h"
#include "engine/wire/messages.h"

namespace godwit::qualify {

// A fault is somebody's touch of a page that a read then fetches.
enum class Verb : uint8_t { kWrite = 1, kRead = 2, kMessage = 3, kFault = 4 };
const char* to_string(Verb verb);

// What else goes on: nothing, or all other lanes read as fast as they can.
enum class Load : uint8_t { kNone = 1, kFull = 2 };
const char* to_string(Load load);

// What was measured, and between what.
struct Cell {
  Verb verb = Verb::kWrite;
  uint32_t size_bytes = 0;  // of a transfer
  uint32_t lanes = 1;
  uint32_t depth = 1;         // transfers under way on each lane
  std::vector<size_t> paths;  // of BenchReport::paths
  int memory_node = kAnyNode;
  int peer_memory_node = kAnyNode;
  Load load = Load::kNone;  // on lanes beside the one that is measured
};

struct CpuUse {
  double here_s = 0;  // of this process
  double there_s = 0;
  double elapsed_s = 0;  // in which that was
  // CPUs that were busy with something else than this process, or interrupts, on average.
  double others_here = 0;
  double others_there = 0;
};

struct Bandwidth {
  double bytes_per_s = 0;
  double half_width_bytes_per_s = 0;  // of the 95 % confidence interval
  double min_100ms_bytes_per_s = 0;   // the least of any 100 ms
  Confidence confidence = Confidence::kNoisy;
  double duration_s = 0;
  uint64_t moved_bytes = 0;  // in all, also what came before and after the clock ran
  CpuUse cpu;
};

// `share` of all took at most so long.
struct LatencyPoint {
  double us = 0;
  double share = 0;
};

struct Latency {
  uint64_t count = 0;
  double p50_us = 0;
  double p90_us = 0;
  double p99_us = 0;
  double p99_9_us = 0;
  double max_us = 0;
  double half_width_us = 0;  // of the 95 % confidence interval of the median
  Confidence confidence = Confidence::kNoisy;
  std::vector<LatencyPoint> distribution;  // at fixed shares, rising, the last one 1
};

struct BandwidthResult {
  Cell cell;
  Bandwidth bandwidth;
};

struct LatencyResult {
  Cell cell;
  Latency latency;
  double load_bytes_per_s = 0;  // what the load carried meanwhile
  uint64_t load_moved_bytes = 0;
};

// A rail of ours and the one that it is joined to.
struct PathReport {
  std::string rail;
  std::string transport;
  int numa_node = -1;  // of the device; -1 where it is not known
  std::string peer_rail;
  std::string peer_address;
  int peer_numa_node = -1;
  LinkDescription link;
  LinkDescription peer_link;
};

struct BenchReport {
  std::vector<PathReport> paths;
  std::vector<BandwidthResult> bandwidth;
  std::vector<LatencyResult> latency;
  // Seconds for each GiB of memory that is used for the first time, both ends at once; by path.
  std::vector<double> registration_s_per_gib;
  std::vector<std::string> findings;  // what a person should know, in sentences
  double duration_s = 0;
};

}  // namespace godwit::qualify
