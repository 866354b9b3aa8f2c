// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/base/check.h"

namespace godwit::qualify {

double student_95(size_t degrees_of_freedom) {
  CHECK(degrees_of_freedom > 0);
  constexpr std::array<double, 10> kFirst = {12.706, 4.303, 3.182, 2.776, 2.571,
                                             2.447,  2.365, 2.306, 2.262, 2.228};
  if (degrees_of_freedom <= kFirst.size()) return kFirst[degrees_of_freedom - 1];
  // Its expansion around the normal distribution (Abramowitz and Stegun, 26.7.5): from ten degrees
  // on, right to 0.1 %.
  const double normal = 1.959964;
  const auto degrees = static_cast<double>(degrees_of_freedom);
  return normal + (std::pow(normal, 3) + normal) / (4 * degrees) +
         (5 * std::pow(normal, 5) + 16 * std::pow(normal, 3) + 3 * normal) /
             (96 * degrees * degrees);
}

Estimate estimate_mean(std::span<const double> values) {
  if (values.empty()) return {0, std::numeric_limits<double>::infinity()};
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  if (values.size() == 1) return {mean, std::numeric_limits<double>::infinity()};
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  const double deviation = std::sqrt(squares / (count - 1));
  return {mean, student_95(values.size() - 1) * deviation / std::sqrt(count)};
}

Estimate estimate_rate(std::span<const double> stretches, uint64_t arrivals) {
  Estimate estimate = estimate_mean(stretches);
  const double half_a_piece =
      estimate.mean / (2 * static_cast<double>(std::max<uint64_t>(arrivals, 1)));
  estimate.half_width = std::max(estimate.half_width, half_a_piece);
  return estimate;
}

double least_mean(std::span<const double> values, size_t width) {
  CHECK(width > 0);
  if (values.size() < width) return 0;
  double least = std::numeric_limits<double>::infinity();
  for (size_t first = 0; first + width <= values.size(); ++first) {
    const auto stretch = values.subspan(first, width);
    least = std::min(least, std::accumulate(stretch.begin(), stretch.end(), 0.0));
  }
  return least / static_cast<double>(width);
}

bool is_precise(const Estimate& estimate, const StopRule& rule) {
  return estimate.mean > 0 && estimate.half_width <= rule.precision * estimate.mean;
}

Confidence judge(const Estimate& estimate, const StopRule& rule) {
  if (is_precise(estimate, rule)) return Confidence::kNarrow;
  const bool noisy = !(estimate.mean > 0) || estimate.half_width > kNoisyHalfWidth * estimate.mean;
  return noisy ? Confidence::kNoisy : Confidence::kWide;
}

const char* to_string(Confidence confidence) {
  switch (confidence) {
    case Confidence::kNarrow:
      return "narrow";
    case Confidence::kWide:
      return "wide";
    case Confidence::kNoisy:
      return "noisy";
  }
  CHECK(false && "a Confidence outside its enumerators");
}

}  // namespace godwit::qualify
