// SPDX-License-Identifier: Apache-2.0
//
// The histogram against the samples themselves, sorted.
#include "engine/postcopy/latency_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <thread>
#include <vector>

namespace godwit::postcopy {
namespace {

constexpr nanoseconds kShortest = microseconds(1);
constexpr nanoseconds kLongest = seconds(100);

// The sample of that rank, counted from 1.
nanoseconds exact_percentile(std::vector<nanoseconds> samples, double fraction) {
  std::sort(samples.begin(), samples.end());
  const double rank = std::ceil(fraction * static_cast<double>(samples.size()));
  return samples[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

LatencyCounts record_all(const std::vector<nanoseconds>& samples) {
  LatencyHistogram histogram;
  for (nanoseconds sample : samples) histogram.record(sample);
  return histogram.snapshot();
}

void expect_close(nanoseconds told, nanoseconds exact) {
  EXPECT_GE(told, exact);
  EXPECT_LE(static_cast<double>(told.count()), static_cast<double>(exact.count()) * (1 + 1.0 / 64));
}

class LatencyHistogramOfSamples : public testing::TestWithParam<unsigned> {};

TEST_P(LatencyHistogramOfSamples, TellsPercentilesToOnePartIn64) {
  std::mt19937_64 random(GetParam());
  // Even over the powers of ten; and what faults look like: most near 20 us, and a tail.
  std::uniform_real_distribution<double> power(3, 11);
  std::lognormal_distribution<double> usual(std::log(20e3), 0.7);
  std::vector<nanoseconds> samples;
  for (int i = 0; i < 20'000; ++i) {
    const double ns = i % 4 == 0 ? std::pow(10, power(random)) : usual(random);
    const nanoseconds sample(static_cast<int64_t>(ns));
    samples.push_back(std::clamp(sample, kShortest, kLongest));
  }

  const LatencyCounts counts = record_all(samples);

  EXPECT_EQ(counts.count(), samples.size());
  for (double fraction : {0.0001, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    SCOPED_TRACE(fraction);
    expect_close(counts.percentile(fraction), exact_percentile(samples, fraction));
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, LatencyHistogramOfSamples, testing::Values(1U, 2U, 3U));

TEST(LatencyHistogram, IsAsExactAroundEveryPowerOfTwo) {
  for (int64_t edge = 1024; edge < kLongest.count(); edge *= 2) {
    for (int64_t offset : {-1, 0, 1}) {
      const nanoseconds sample(edge + offset);
      SCOPED_TRACE(sample.count());
      expect_close(record_all({sample}).percentile(0.5), sample);
    }
  }
}

TEST(LatencyHistogram, KeepsTheOrderOfAllTimes) {
  nanoseconds before(0);
  for (int64_t ns = 1; ns < kLongest.count(); ns += 1 + ns / 300) {
    const nanoseconds told = record_all({nanoseconds(ns)}).percentile(1);
    ASSERT_GE(told, before) << ns;
    before = told;
  }
}

TEST(LatencyHistogram, IsExactTo16NanosecondsBelowAMicrosecond) {
  for (int64_t ns = 0; ns < 1000; ++ns) {
    const int64_t told = record_all({nanoseconds(ns)}).percentile(1).count();
    ASSERT_GE(told, ns);
    ASSERT_LT(told, ns + 16);
  }
}

TEST(LatencyHistogram, CountsWhatIsOutOfRangeAtItsEnds) {
  const LatencyCounts counts = record_all({nanoseconds(-5), seconds(5000), nanoseconds::max()});

  EXPECT_EQ(counts.count(), 3U);
  EXPECT_LT(counts.percentile(0.3), nanoseconds(16));
  EXPECT_EQ(duration_cast<seconds>(counts.percentile(1)), seconds(137));
}

TEST(LatencyHistogram, SaysZeroWhenNothingWasRecorded) {
  EXPECT_EQ(LatencyHistogram().snapshot().percentile(0.5), nanoseconds(0));
}

TEST(LatencyHistogram, MergedIsAsIfRecordedInOne) {
  const std::vector<nanoseconds> few = {microseconds(3), microseconds(50), seconds(2)};
  const std::vector<nanoseconds> more = {microseconds(8), microseconds(9), milliseconds(1)};
  std::vector<nanoseconds> all = few;
  all.insert(all.end(), more.begin(), more.end());

  LatencyCounts merged = record_all(few);
  merged.merge(record_all(more));

  const LatencyCounts wanted = record_all(all);
  EXPECT_EQ(merged.count(), 6U);
  for (double fraction : {0.1, 0.3, 0.5, 0.6, 0.8, 1.0}) {
    EXPECT_EQ(merged.percentile(fraction), wanted.percentile(fraction));
  }
}

TEST(LatencyHistogram, LosesNothingBetweenThreads) {
  constexpr int kThreads = 4;
  constexpr int kEach = 20'000;
  LatencyHistogram histogram;
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&histogram] {
      for (int n = 0; n < kEach; ++n) histogram.record(microseconds(n % 3));
    });
  }
  // Looking meanwhile is allowed.
  EXPECT_LE(histogram.snapshot().count(), uint64_t{kThreads} * kEach);

  threads.clear();

  EXPECT_EQ(histogram.snapshot().count(), uint64_t{kThreads} * kEach);
}

}  // namespace
}  // namespace godwit::postcopy
