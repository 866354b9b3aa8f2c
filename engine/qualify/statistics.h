// SPDX-License-Identifier: Apache-2.0
//
// How sure a measured rate is. Pure functions of the values of equal stretches of time, which take
// the place of independent samples: what happens within a stretch may hang together, one stretch
// and the next hardly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/base/time.h"

namespace godwit::qualify {

struct Estimate {
  double mean = 0;
  double half_width = 0;  // of the 95 % confidence interval of the mean; infinite for one value
};

Estimate estimate_mean(std::span<const double> values);

// Of a rate that was counted in `arrivals` pieces: nothing is more certain than half a piece.
Estimate estimate_rate(std::span<const double> stretches, uint64_t arrivals);

// The factor of Student's distribution for a two-sided interval of 95 %. Requires: at least one
// degree of freedom.
double student_95(size_t degrees_of_freedom);

// The least mean of `width` values that follow each other; 0 when there are fewer.
double least_mean(std::span<const double> values, size_t width);

// When a measurement has taken long enough.
struct StopRule {
  Clock::duration time_min = milliseconds(250);
  Clock::duration time_max = seconds(1);
  double precision = 0.02;  // half width, as a share of the mean, that will do
};

// How far a measurement came.
enum class Confidence : unsigned char {
  kNarrow = 1,  // as precise as was asked for
  kWide = 2,    // the time was up before
  kNoisy = 3,   // and it varied so much that the result says little
};
const char* to_string(Confidence confidence);

// Half width, as a share of the mean, from which on it says little.
inline constexpr double kNoisyHalfWidth = 0.10;

bool is_precise(const Estimate& estimate, const StopRule& rule);
Confidence judge(const Estimate& estimate, const StopRule& rule);

}  // namespace godwit::qualify
