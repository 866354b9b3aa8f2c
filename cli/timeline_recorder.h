// SPDX-License-Identifier: Apache-2.0
//
// Makes the timeline of a report out of what a migration tells while it runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/base/time.h"
#include "engine/report.h"

namespace godwit::cli {

// Time begins with the first state. Thread: one at a time.
class TimelineRecorder {
 public:
  // Later states are left out: a migration has a dozen, one that loses its connection again and
  // again any number.
  static constexpr size_t kPhasesMax = 64;
  // When there are so many, every second one goes, and the next ones come at twice the distance.
  static constexpr size_t kSamplesMax = 256;

  void enter(std::string_view state, Clock::time_point now = Clock::now());
  void add(const Progress& progress, Clock::time_point now = Clock::now());

  // What was recorded, up to the last sample.
  Timeline timeline() const;

 private:
  double milliseconds_until(Clock::time_point now) const;

  Clock::time_point begin_{};
  Timeline recorded_;
  std::optional<TimelineSample> last_;  // not recorded, because it came too soon
  double distance_ms_ = 0;
  // Post-copy counts its bytes from nothing.
  uint64_t bytes_before_ = 0;
  uint64_t bytes_counted_ = 0;
  bool in_post_copy_ = false;
};

}  // namespace godwit::cli
