// SPDX-License-Identifier: Apache-2.0
//
// What a user sees while a migration runs: on a terminal one line that is drawn anew a few times
// per second, elsewhere a line per second.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/time.h"
#include "engine/report.h"

namespace godwit::cli {

enum class DisplayStyle : uint8_t { kRedrawnLine = 1, kLines = 2 };

// What suits standard error: a terminal, or a file.
DisplayStyle style_of_stderr();

// Thread: one at a time.
class ProgressDisplay {
 public:
  using Output = std::function<void(std::string_view)>;

  ProgressDisplay(DisplayStyle style, Output output);
  ~ProgressDisplay();
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

  void show(const Progress& progress, Clock::time_point now = Clock::now());

  // Takes the redrawn line away, so that other text can follow.
  void clear();

 private:
  DisplayStyle style_;
  Output output_;
  std::optional<Clock::time_point> shown_at_;
  bool line_visible_ = false;
};

// "pre-copy round 2 | 1.85 GB/s | dirtying 120 MB/s | 512 MiB left | downtime about 14.2 ms"
std::string format_progress(const Progress& progress);

}  // namespace godwit::cli
