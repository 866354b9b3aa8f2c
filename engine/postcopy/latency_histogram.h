// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include "engine/base/time.h"

namespace godwit::postcopy {

class LatencyHistogram {
 public:
  void record(Clock::duration d) {
    const auto ns = static_cast<uint64_t>(duration_cast<nanoseconds>(d).count());
    buckets_[index(ns)].fetch_add(1, std::memory_order_relaxed);
    uint64_t seen = max_.load(std::memory_order_relaxed);
    while (ns > seen && !max_.compare_exchange_weak(seen, ns, std::memory_order_relaxed)) {
    }
  }
  double percentile_us(double p) const {
    uint64_t total = 0;
    for (const auto& b : buckets_) total += b.load(std::memory_order_relaxed);
    const double want = static_cast<double>(total) * p / 100;
    double sum = 0;
    for (size_t i = 0; i < buckets_.size(); ++i) {
      sum += static_cast<double>(buckets_[i].load(std::memory_order_relaxed));
      if (sum >= want && sum > 0) return static_cast<double>(value(i)) / 1e3;
    }
    return 0;
  }
  double max_us() const { return static_cast<double>(max_.load()) / 1e3; }

 private:
  static size_t index(uint64_t ns) {
    if (ns < 64) return ns;
    const auto e = static_cast<unsigned>(std::bit_width(ns)) - 6;
    return static_cast<size_t>(e) * 32 + (ns >> e);
  }
  static uint64_t value(size_t i) {
    if (i < 64) return i;
    const uint64_t e = i / 32 - 1;
    return (i - e * 32) << e;
  }
  std::array<std::atomic<uint64_t>, 32 * 60> buckets_{};
  std::atomic<uint64_t> max_{0};
};

}  // namespace godwit::postcopy
