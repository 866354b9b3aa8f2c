// SPDX-License-Identifier: Apache-2.0
//
// Paces all lanes of a migration to one rate. Each lane reserves the bytes it is about to post and
// is told when it may; one atomic word is all that the lanes share.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/base/time.h"

namespace godwit::precopy {

// Thread: any.
class BandwidthLimiter {
 public:
  // 0 = unlimited.
  explicit BandwidthLimiter(uint64_t bytes_per_s) : bytes_per_s_(bytes_per_s) {}

  // Another rate from now on.
  void set_rate(uint64_t bytes_per_s) {
    bytes_per_s_.store(bytes_per_s, std::memory_order_relaxed);
  }

  bool unlimited() const { return rate() == 0; }

  // Reserves `bytes` and returns the moment from which they may be sent. Time that nobody used is
  // not saved up beyond kBurst, so that a pause is not followed by a flood.
  Clock::time_point reserve(uint64_t bytes, Clock::time_point now) {
    const uint64_t bytes_per_s = rate();
    if (bytes_per_s == 0) return now;
    const auto cost = nanoseconds(
        static_cast<int64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(bytes_per_s)));
    int64_t earliest = next_free_.load(std::memory_order_relaxed);
    int64_t start = 0;
    do {
      const int64_t oldest = (now - kBurst).time_since_epoch().count();
      start = earliest < oldest ? oldest : earliest;
      // SAFETY: relaxed is enough; the word orders nothing but itself.
    } while (!next_free_.compare_exchange_weak(earliest, start + cost.count(),
                                               std::memory_order_relaxed));
    return Clock::time_point(nanoseconds(start));
  }

 private:
  static constexpr nanoseconds kBurst = milliseconds(2);

  uint64_t rate() const { return bytes_per_s_.load(std::memory_order_relaxed); }

  std::atomic<uint64_t> bytes_per_s_;
  std::atomic<int64_t> next_free_{0};  // steady clock, nanoseconds
};

}  // namespace godwit::precopy
