// SPDX-License-Identifier: Apache-2.0
#include "engine/postcopy/fetch_window.h"

#include <algorithm>

namespace godwit::postcopy {
namespace {

constexpr Clock::duration kInQueues = milliseconds(2);
constexpr uint64_t kBytesToMeasure = 4 * kMiB;

}  // namespace

void FetchWindow::note_arrival(uint64_t bytes, Clock::duration since_asked, Clock::time_point now) {
  least_ = std::min(least_, since_asked);
  arrived_bytes_ += bytes;
  if (arrived_bytes_ < kBytesToMeasure) return;
  const double bytes_per_s =
      static_cast<double>(arrived_bytes_) / std::max(to_seconds(now - since_), 1e-6);
  window_bytes_ = std::clamp(static_cast<uint64_t>(bytes_per_s * to_seconds(least_ + kInQueues)),
                             kBytesMin, kBytesMax);
  arrived_bytes_ = 0;
  since_ = now;
}

}  // namespace godwit::postcopy
