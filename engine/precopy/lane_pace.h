// SPDX-License-Identifier: Apache-2.0
//
// How fast a lane's rail takes its pages, and how many bytes the lane may therefore have on its
// way.
//
// The bound is a time, not a number of bytes: what is on its way cannot be taken back, so a rail
// that turns slow holds back the round by as long as it needs for that. Only what passes while the
// lane waits for room counts as the rail's speed; else it would be how fast pages are found.
//
// A rail is *slow* when it carries a quarter of what it did shortly before, or less, until it
// carries half of it again. What it did is forgotten over some seconds: a rail that stays slow is
// then one that is simply not fast.
#pragma once

#include <cstdint>
#include <limits>
#include <utility>

#include "engine/base/time.h"

namespace godwit::precopy {

// Thread: one.
class LanePace {
 public:
  static constexpr uint64_t kUnbounded = std::numeric_limits<uint64_t>::max();

  // Never more than `in_flight_bytes_max`. kUnbounded: the transport bounds it by itself, and no
  // speed is measured.
  explicit LanePace(uint64_t in_flight_bytes_max) : in_flight_bytes_max_(in_flight_bytes_max) {}

  uint64_t in_flight_bytes() const;
  bool is_slow() const { return slow_; }
  // How often it has become slow since the last call.
  uint32_t take_slowdowns() { return std::exchange(slowdowns_, 0U); }

  // The lane has no room and waits; or it had room.
  void wait(Clock::time_point now);
  void flow() { measuring_ = false; }
  bool is_measuring() const { return measuring_; }
  void complete(uint64_t bytes, Clock::time_point now);

 private:
  void take_sample(double bytes_per_s);

  const uint64_t in_flight_bytes_max_;
  bool measuring_ = false;
  Clock::time_point begin_{};
  uint64_t bytes_ = 0;  // since then
  double speed_ = 0;    // bytes per second; 0 until it was measured
  double recent_best_ = 0;
  bool slow_ = false;
  uint32_t slowdowns_ = 0;
};

}  // namespace godwit::precopy
