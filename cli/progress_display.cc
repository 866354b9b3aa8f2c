// SPDX-License-Identifier: Apache-2.0
#include "cli/progress_display.h"

#include <fmt/core.h>
#include <unistd.h>

#include <utility>

#include "cli/units.h"

namespace godwit::cli {
namespace {

constexpr milliseconds kRedrawPeriod{100};
constexpr milliseconds kLinePeriod{1000};
constexpr std::string_view kEraseLine = "\r\033[K";

}  // namespace

DisplayStyle style_of_stderr() {
  return ::isatty(STDERR_FILENO) == 1 ? DisplayStyle::kRedrawnLine : DisplayStyle::kLines;
}

ProgressDisplay::ProgressDisplay(DisplayStyle style, Output output)
    : style_(style), output_(std::move(output)) {}

ProgressDisplay::~ProgressDisplay() {
  clear();
}

void ProgressDisplay::show(const Progress& progress, Clock::time_point now) {
  milliseconds period = style_ == DisplayStyle::kRedrawnLine ? kRedrawPeriod : kLinePeriod;
  if (shown_at_ && now - *shown_at_ < period) return;
  shown_at_ = now;
  std::string line = format_progress(progress);
  if (style_ == DisplayStyle::kLines) {
    output_(line + "\n");
    return;
  }
  output_(std::string(kEraseLine) + line);
  line_visible_ = true;
}

void ProgressDisplay::clear() {
  if (!line_visible_) return;
  output_(kEraseLine);
  line_visible_ = false;
}

std::string format_progress(const Progress& progress) {
  if (progress.faults > 0) {
    return fmt::format("{} | {} | {} left | {} page faults, p50 {:.0f} us, p99 {:.0f} us",
                       progress.phase, format_rate(progress.throughput_bytes_per_s),
                       format_bytes(progress.bytes_remaining), progress.faults,
                       progress.fault_p50_us, progress.fault_p99_us);
  }
  std::string line =
      fmt::format("{} | {} | dirtying {} | {} left", progress.phase,
                  format_rate(progress.throughput_bytes_per_s),
                  format_rate(progress.dirty_bytes_per_s), format_bytes(progress.bytes_remaining));
  if (progress.predicted_downtime_ms > 0) {
    line +=
        fmt::format(" | downtime about {}", format_milliseconds(progress.predicted_downtime_ms));
  }
  return line;
}

}  // namespace godwit::cli
