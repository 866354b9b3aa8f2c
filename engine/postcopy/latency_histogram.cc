// SPDX-License-Identifier: Apache-2.0
//
// A time is its number of 16 ns units, of which a bucket keeps the upper seven bits:
//
//   units  = 1mmmmmmx...x     exponent = how many bits are cut off (0 when units < 128)
//   bucket = 64 * exponent + (units >> exponent)
//
// A cut mantissa is 64..127, so buckets of one exponent follow those of the one before without a
// gap, and a bucket's width is at most 1/64 of what is in it.
#include "engine/postcopy/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <numeric>

#include "engine/base/check.h"

namespace godwit::postcopy {
namespace {

constexpr uint64_t kUnitNs = 16;
constexpr uint64_t kSteps = 64;
constexpr uint64_t kMantissaBits = 7;

size_t bucket_of(nanoseconds latency) {
  const uint64_t units = static_cast<uint64_t>(std::max<int64_t>(latency.count(), 0)) / kUnitNs;
  const uint64_t width = static_cast<uint64_t>(std::bit_width(units));
  const uint64_t exponent = width > kMantissaBits ? width - kMantissaBits : 0;
  return std::min<size_t>(kSteps * exponent + (units >> exponent), kLatencyBuckets - 1);
}

// The longest time that belongs there.
nanoseconds end_of(size_t bucket) {
  const uint64_t exponent = bucket < 2 * kSteps ? 0 : bucket / kSteps - 1;
  const uint64_t mantissa = bucket - kSteps * exponent;
  return nanoseconds(static_cast<int64_t>(((mantissa + 1) << exponent) * kUnitNs - 1));
}

}  // namespace

void LatencyHistogram::record(nanoseconds latency) {
  // SAFETY: nothing else is published by a count, so it needs no order.
  buckets_[bucket_of(latency)].fetch_add(1, std::memory_order_relaxed);
}

LatencyCounts LatencyHistogram::snapshot() const {
  LatencyBuckets counts;
  std::transform(
      buckets_.begin(), buckets_.end(), counts.begin(),
      [](const std::atomic<uint64_t>& count) { return count.load(std::memory_order_relaxed); });
  return LatencyCounts(counts);
}

uint64_t LatencyCounts::count() const {
  return std::accumulate(buckets_.begin(), buckets_.end(), uint64_t{0});
}

nanoseconds LatencyCounts::percentile(double fraction) const {
  CHECK(fraction > 0 && fraction <= 1);
  const uint64_t total = count();
  if (total == 0) return nanoseconds(0);
  const auto wanted = static_cast<uint64_t>(std::ceil(fraction * static_cast<double>(total)));
  const uint64_t rank = std::clamp<uint64_t>(wanted, 1, total);
  uint64_t seen = 0;
  for (size_t bucket = 0; bucket < kLatencyBuckets; ++bucket) {
    seen += buckets_[bucket];
    if (seen >= rank) return end_of(bucket);
  }
  CHECK(false && "fewer latencies than were counted");
}

double LatencyCounts::percentile_us(double fraction) const {
  return std::chrono::duration<double, std::micro>(percentile(fraction)).count();
}

void LatencyCounts::merge(const LatencyCounts& other) {
  std::transform(buckets_.begin(), buckets_.end(), other.buckets_.begin(), buckets_.begin(),
                 std::plus<>());
}

}  // namespace godwit::postcopy
