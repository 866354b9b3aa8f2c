// SPDX-License-Identifier: Apache-2.0
//
// What a matrix of many hosts has found, as plain data. Hosts are known by their place in
// MatrixReport::hosts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/qualify/statistics.h"

namespace godwit::qualify {

struct MatrixHost {
  std::string name;
  std::string lost;  // why it took no part, or no part any more; empty: it took part to the end
};

// One host writing to another and, where latency was measured too, reading from it.
struct Direction {
  size_t from = 0;
  size_t to = 0;
  size_t round = 0;     // from 1 on; 0 of everyone at once
  std::string failure;  // why there are no numbers; empty: there are
  std::string address;  // by which `to` was reached
  std::string transport;
  double line_rate_bytes_per_s = 0;  // 0: not known
  double bytes_per_s = 0;
  double half_width_bytes_per_s = 0;  // of the 95 % confidence interval
  Confidence confidence = Confidence::kNoisy;
  uint64_t moved_bytes = 0;
  uint64_t reads = 0;  // of 4 KiB; 0: not measured
  double read_p50_us = 0;
  double read_p99_us = 0;

  bool measured() const { return failure.empty(); }
};

struct MatrixReport {
  std::vector<MatrixHost> hosts;
  std::vector<Direction> pairs;    // both directions of each, with at most one peer at a time
  std::vector<Direction> at_once;  // all at the same time
  size_t rounds = 0;
  double duration_s = 0;

  // Every host took part to the end, and every direction has its numbers.
  bool complete() const;
};

}  // namespace godwit::qualify
