// SPDX-License-Identifier: Apache-2.0
//
// How many bytes a lane has moved in which stretch of time: written by the lane, read by whoever
// decides when it was enough.
//
// What arrives was on its way since the arrival before, and counts as spread evenly over that time:
// on a slow link a single piece may be as much as a whole stretch carries, and would make a steady
// rate look like one that jumps.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/base/time.h"

namespace godwit::qualify {

inline constexpr Clock::duration kStretch = milliseconds(50);

class ByteClock {
 public:
  // Nothing before `start` counts, nor what comes later than `time_max` after it.
  ByteClock(Clock::time_point start, Clock::duration time_max);

  // Thread: the lane's.
  void add(Clock::time_point now, uint64_t bytes);

  // How often something came: few make a rate a coarse one. Thread: any.
  uint64_t arrivals() const { return arrivals_.load(std::memory_order_relaxed); }

  // The stretches at the start of which nothing can be added any more. Thread: any.
  size_t settled() const { return settled_.load(std::memory_order_acquire); }

  // Thread: any, of a settled one.
  uint64_t bytes_in(size_t stretch) const {
    return stretches_[stretch].load(std::memory_order_relaxed);
  }

  // From the start to the last arrival. Thread: any, when the lane has ended.
  double bytes_per_s() const;

 private:
  void spread(Clock::time_point from, Clock::time_point to, double bytes);

  const Clock::time_point start_;
  std::vector<std::atomic<uint64_t>> stretches_;
  std::atomic<uint64_t> arrivals_{0};
  std::atomic<size_t> settled_{0};
  // The lane's own.
  std::optional<Clock::time_point> previous_;  // arrival
  std::optional<Clock::time_point> counted_from_;
  double counted_bytes_ = 0;
};

}  // namespace godwit::qualify
