// SPDX-License-Identifier: Apache-2.0
//
// How much the background may have on its way by one lane: enough to keep the link busy, and so
// little more that a fault, which comes behind it on the link, waits for 2 ms at most.
//
// What arrives in the time that the fastest answer took, and 2 ms more, at the speed measured last.
// While the link is not busy that is more than is on its way, and it grows; when it is, what
// exceeds the link's own latency lies in queues. TCP Vegas (Brakmo, O'Malley, Peterson, SIGCOMM
// 1994) finds its window so.
#pragma once

#include <cstdint>

#include "engine/base/time.h"
#include "engine/base/units.h"

namespace godwit::postcopy {

// Thread: one.
class FetchWindow {
 public:
  static constexpr uint64_t kBytesMin = 512 * kKiB;
  static constexpr uint64_t kBytesMax = 32 * kMiB;

  explicit FetchWindow(Clock::time_point now) : since_(now) {}

  uint64_t bytes() const { return window_bytes_; }

  void note_arrival(uint64_t bytes, Clock::duration since_asked, Clock::time_point now);

 private:
  uint64_t window_bytes_ = kBytesMin;
  uint64_t arrived_bytes_ = 0;  // since then
  Clock::time_point since_;
  Clock::duration least_ = Clock::duration::max();
};

}  // namespace godwit::postcopy
