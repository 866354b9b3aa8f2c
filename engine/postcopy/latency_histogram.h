// SPDX-License-Identifier: Apache-2.0
//
// How long faults take: a histogram that is cheap enough to note every one of them. Buckets are
// log-linear, 64 to each power of two, so what it says is at most 1/64 (1.6 %) above the truth from
// 1 us to 100 s; below 1 us, 16 ns at most. Debian 12 has HdrHistogram for Go and Java, not for
// C++.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "engine/base/time.h"

namespace godwit::postcopy {

// 16 ns a bucket up to 1.024 us, then 64 buckets for each of 27 doublings, to 137 s.
inline constexpr size_t kLatencyBuckets = size_t{64} * 28;
using LatencyBuckets = std::array<uint64_t, kLatencyBuckets>;

// What was recorded up to some moment. Thread: not synchronised.
class LatencyCounts {
 public:
  LatencyCounts() = default;
  explicit LatencyCounts(const LatencyBuckets& buckets) : buckets_(buckets) {}

  uint64_t count() const;

  // The shortest time that this fraction of all took at most, rounded up to its bucket's end; 0
  // when nothing was recorded. Requires: 0 < fraction <= 1. `percentile(1)` is the maximum.
  nanoseconds percentile(double fraction) const;
  double percentile_us(double fraction) const;

  void merge(const LatencyCounts& other);

 private:
  LatencyBuckets buckets_{};
};

class LatencyHistogram {
 public:
  // More than 137 s counts as 137 s. Thread: any; one relaxed increment.
  void record(nanoseconds latency);

  // Thread: any. What is being recorded meanwhile is in it or not, one by one.
  LatencyCounts snapshot() const;

 private:
  std::array<std::atomic<uint64_t>, kLatencyBuckets> buckets_{};
};

}  // namespace godwit::postcopy
