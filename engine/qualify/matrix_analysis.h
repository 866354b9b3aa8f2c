// SPDX-License-Identifier: Apache-2.0
//
// What stands out in a matrix: hosts that are slow with most others, links that are slow although
// their hosts are not, pairs whose two directions differ, and what is lost when everyone talks at
// once. Pure functions of the numbers.
//
// The measure is the median of all pairs: a cluster is meant to be alike, and a few bad links do
// not move it. What a slow host explains is not said again of each of its links, and a link whose
// rate varies so much that it may be as fast as others is not named.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/qualify/matrix_report.h"

namespace godwit::qualify {

// Below this share of what is usual, a rate is slow.
inline constexpr double kSlowShare = 0.7;
// Beyond this many times the usual, a latency is high.
inline constexpr double kHighLatencyTimes = 2.0;

enum class FindingKind : uint8_t {
  kSlowSender = 1,    // `from`, towards more than half of its peers
  kSlowReceiver = 2,  // `to`, from more than half of its peers
  kSlowLink = 3,      // `from` to `to`
  kAsymmetry = 4,     // `from` to `to` is slow against the way back
  kHighLatency = 5,   // of reads by `from` of `to`'s memory
  kSlowAtOnce = 6,    // `from` to `to` loses far more than others when everyone talks
  kContention = 7,    // everybody loses much
};
const char* to_string(FindingKind kind);

struct MatrixFinding {
  FindingKind kind = FindingKind::kSlowLink;
  // Where the kind names none: 0.
  size_t from = 0;
  size_t to = 0;
  // bytes/s or us; of a host the median of its pairs, of contention the median share of the rate
  // alone.
  double value = 0;
  // The usual that it is held against: a median, or of an asymmetry the way back.
  double usual = 0;

  friend bool operator==(const MatrixFinding&, const MatrixFinding&) = default;
};

// The most important first: hosts, then links, the slowest first.
std::vector<MatrixFinding> analyze_matrix(const MatrixReport& report);

// 0 of nothing.
double median(std::vector<double> values);

// Of the pairs, bytes/s and us; 0 where nothing was measured.
double median_rate(const MatrixReport& report);
double median_read_p50_us(const MatrixReport& report);

// The pair's direction, alone; null where it was not measured.
const Direction* find_direction(const MatrixReport& report, size_t from, size_t to);

}  // namespace godwit::qualify
