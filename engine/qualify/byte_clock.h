// SPDX-License-Identifier: Apache-2.0
//
// How many bytes a lane has moved in which stretch of time: written by the lane, read by whoever
// decides when it was enough.
#pragma once

#include <algorithm>
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
  ByteClock(Clock::time_point start, Clock::duration time_max)
      : start_(start), stretches_(static_cast<size_t>(time_max / kStretch) + 1) {}

  // Thread: the lane's.
  void add(Clock::time_point now, uint64_t bytes) {
    if (now < start_) return;
    const auto stretch = static_cast<size_t>((now - start_) / kStretch);
    if (stretch >= stretches_.size()) return;
    // SAFETY: nothing else is published by a count, so it needs no order.
    stretches_[stretch].fetch_add(bytes, std::memory_order_relaxed);
    if (!first_) {
      first_ = now;
      return;
    }
    last_ = now;
    since_first_bytes_ += bytes;
  }

  // Thread: any.
  uint64_t bytes_in(size_t stretch) const {
    return stretches_[stretch].load(std::memory_order_relaxed);
  }

  // From completion to completion, so that it makes no difference where in between the clock was
  // started and stopped. Thread: any, when the lane has ended.
  double bytes_per_s() const {
    if (since_first_bytes_ == 0) return 0;
    const double elapsed_s = to_seconds(*last_ - *first_);
    return elapsed_s > 0 ? static_cast<double>(since_first_bytes_) / elapsed_s : 0;
  }

 private:
  const Clock::time_point start_;
  std::vector<std::atomic<uint64_t>> stretches_;
  std::optional<Clock::time_point> first_;
  std::optional<Clock::time_point> last_;
  uint64_t since_first_bytes_ = 0;
};

}  // namespace godwit::qualify
