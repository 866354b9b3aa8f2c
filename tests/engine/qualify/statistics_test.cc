// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace godwit::qualify {
namespace {

TEST(Statistics, StudentsFactorIsThatOfTheTables) {
  EXPECT_NEAR(student_95(1), 12.706, 1e-3);
  EXPECT_NEAR(student_95(10), 2.228, 1e-3);
  EXPECT_NEAR(student_95(11), 2.201, 3e-3);
  EXPECT_NEAR(student_95(30), 2.042, 1e-3);
  EXPECT_NEAR(student_95(1000), 1.962, 1e-3);
}

TEST(Statistics, MeanHasAnIntervalAroundIt) {
  const Estimate estimate = estimate_mean(std::vector<double>{9, 10, 11});

  EXPECT_DOUBLE_EQ(estimate.mean, 10);
  EXPECT_NEAR(estimate.half_width, 4.303 / std::sqrt(3.0), 1e-3);
}

TEST(Statistics, OneValueSaysNothingAboutItself) {
  EXPECT_TRUE(std::isinf(estimate_mean(std::vector<double>{7}).half_width));
  EXPECT_TRUE(std::isinf(estimate_mean({}).half_width));
}

TEST(Statistics, NineteenOfTwentyIntervalsHoldTheTruth) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> values(100, 5);
  int held = 0;
  for (int run = 0; run < 2000; ++run) {
    std::vector<double> sample(12);
    for (double& value : sample) value = values(random);
    const Estimate estimate = estimate_mean(sample);
    held += std::abs(estimate.mean - 100) <= estimate.half_width ? 1 : 0;
  }
  EXPECT_NEAR(held, 1900, 40);
}

TEST(Statistics, RateOfFewPiecesIsNoSurerThanThey) {
  const std::vector<double> even(20, 100);

  EXPECT_DOUBLE_EQ(estimate_rate(even, 1'000'000).half_width, 100.0 / 2e6);
  EXPECT_DOUBLE_EQ(estimate_rate(even, 10).half_width, 5);
  EXPECT_DOUBLE_EQ(estimate_rate(even, 0).half_width, 50);
}

TEST(Statistics, LeastMeanIsOfNeighbours) {
  const std::vector<double> values = {5, 1, 4, 2, 3};

  EXPECT_DOUBLE_EQ(least_mean(values, 1), 1);
  EXPECT_DOUBLE_EQ(least_mean(values, 2), 2.5);
  EXPECT_DOUBLE_EQ(least_mean(values, 5), 3);
  EXPECT_DOUBLE_EQ(least_mean(values, 6), 0);
}

TEST(Statistics, VerdictFollowsTheWidth) {
  const StopRule rule{.precision = 0.02};

  EXPECT_EQ(judge({.mean = 100, .half_width = 1.9}, rule), Confidence::kNarrow);
  EXPECT_EQ(judge({.mean = 100, .half_width = 5}, rule), Confidence::kWide);
  EXPECT_EQ(judge({.mean = 100, .half_width = 11}, rule), Confidence::kNoisy);
  EXPECT_EQ(judge({.mean = 0, .half_width = 0}, rule), Confidence::kNoisy);
}

}  // namespace
}  // namespace godwit::qualify
