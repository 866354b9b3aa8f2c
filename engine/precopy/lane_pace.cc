// SPDX-License-Identifier: Apache-2.0
#include "engine/precopy/lane_pace.h"

#include <algorithm>

#include "engine/base/units.h"

namespace godwit::precopy {
namespace {

// Long against any round trip that RDMA is used over, short against a round.
constexpr Clock::duration kInFlightMax = milliseconds(50);
constexpr uint64_t kInFlightBytesMin = 512 * kKiB;
constexpr Clock::duration kSampleMin = milliseconds(20);
constexpr double kSlow = 0.25;
constexpr double kRecovered = 0.5;
// Of the best that is remembered, with each sample: half is gone after a second.
constexpr double kKept = 0.986;

}  // namespace

uint64_t LanePace::in_flight_bytes() const {
  if (in_flight_bytes_max_ == kUnbounded || speed_ == 0) return in_flight_bytes_max_;
  const auto carried = static_cast<uint64_t>(speed_ * to_seconds(kInFlightMax));
  return std::clamp(carried, std::min(kInFlightBytesMin, in_flight_bytes_max_),
                    in_flight_bytes_max_);
}

void LanePace::wait(Clock::time_point now) {
  if (measuring_ || in_flight_bytes_max_ == kUnbounded) return;
  measuring_ = true;
  begin_ = now;
  bytes_ = 0;
}

void LanePace::complete(uint64_t bytes, Clock::time_point now) {
  if (!measuring_) return;
  bytes_ += bytes;
  if (now - begin_ < kSampleMin) return;
  take_sample(static_cast<double>(bytes_) / to_seconds(now - begin_));
  begin_ = now;
  bytes_ = 0;
}

void LanePace::take_sample(double bytes_per_s) {
  speed_ = bytes_per_s;
  recent_best_ = std::max(bytes_per_s, recent_best_ * kKept);
  const bool slow = speed_ <= recent_best_ * (slow_ ? kRecovered : kSlow);
  if (slow && !slow_) ++slowdowns_;
  slow_ = slow;
}

}  // namespace godwit::precopy
