// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/byte_clock.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace godwit::qualify {

ByteClock::ByteClock(Clock::time_point start, Clock::duration time_max)
    : start_(start), stretches_(static_cast<size_t>(time_max / kStretch) + 1) {}

void ByteClock::add(Clock::time_point now, uint64_t bytes) {
  if (bytes == 0) return;
  const std::optional<Clock::time_point> before = std::exchange(previous_, now);
  if (!before || now <= start_ || now <= *before) return;
  const Clock::time_point from = std::max(*before, start_);
  const double share = to_seconds(now - from) / to_seconds(now - *before);
  const double counted_bytes = share * static_cast<double>(bytes);
  spread(from, now, counted_bytes);
  if (!counted_from_) counted_from_ = from;
  counted_bytes_ += counted_bytes;
  arrivals_.fetch_add(1, std::memory_order_relaxed);
  // SAFETY: whoever sees the stretch as settled sees what was added to it before.
  settled_.store(std::min(static_cast<size_t>((now - start_) / kStretch), stretches_.size()),
                 std::memory_order_release);
}

void ByteClock::spread(Clock::time_point from, Clock::time_point to, double bytes) {
  const double bytes_per_s = bytes / to_seconds(to - from);
  while (from < to) {
    const auto stretch = static_cast<size_t>((from - start_) / kStretch);
    if (stretch >= stretches_.size()) return;
    const Clock::time_point end =
        std::min(to, start_ + static_cast<int64_t>(stretch + 1) * kStretch);
    // SAFETY: nothing else is published by a count, so it needs no order; settled_ has one.
    stretches_[stretch].fetch_add(
        static_cast<uint64_t>(std::llround(bytes_per_s * to_seconds(end - from))),
        std::memory_order_relaxed);
    from = end;
  }
}

double ByteClock::bytes_per_s() const {
  if (!counted_from_) return 0;
  return counted_bytes_ / to_seconds(*previous_ - *counted_from_);
}

}  // namespace godwit::qualify
