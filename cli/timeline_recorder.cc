// SPDX-License-Identifier: Apache-2.0
#include "cli/timeline_recorder.h"

#include <utility>

namespace godwit::cli {
namespace {

void drop_every_second(std::vector<TimelineSample>& samples) {
  size_t kept = 0;
  for (size_t i = 0; i < samples.size(); i += 2) {
    if (i != kept) samples[kept] = std::move(samples[i]);
    ++kept;
  }
  samples.resize(kept);
}

}  // namespace

double TimelineRecorder::milliseconds_until(Clock::time_point now) const {
  return recorded_.phases.empty() ? 0 : to_milliseconds(now - begin_);
}

void TimelineRecorder::enter(std::string_view state, Clock::time_point now) {
  if (recorded_.phases.empty()) begin_ = now;
  if (recorded_.phases.size() < kPhasesMax)
    recorded_.phases.push_back({std::string(state), milliseconds_until(now)});
}

void TimelineRecorder::add(const Progress& progress, Clock::time_point now) {
  const bool in_post_copy = progress.phase == "post-copy";
  // An agent that takes over at the other end counts from nothing, too.
  if (in_post_copy != in_post_copy_ || progress.bytes_sent < bytes_counted_)
    bytes_before_ += bytes_counted_;
  in_post_copy_ = in_post_copy;
  bytes_counted_ = progress.bytes_sent;

  TimelineSample sample{.ms = milliseconds_until(now),
                        .round = progress.round,
                        .bytes_sent = bytes_before_ + bytes_counted_,
                        .bytes_remaining = progress.bytes_remaining,
                        .dirty_bytes_per_s = progress.dirty_bytes_per_s,
                        .predicted_downtime_ms = progress.predicted_downtime_ms,
                        .rail_bytes_sent = {},
                        .faults = progress.faults,
                        .fault_p50_us = progress.fault_p50_us,
                        .fault_p99_us = progress.fault_p99_us};
  for (const RailReport& rail : progress.rails) sample.rail_bytes_sent.push_back(rail.bytes_sent);

  std::vector<TimelineSample>& samples = recorded_.samples;
  if (!samples.empty() && sample.ms - samples.back().ms < distance_ms_) {
    last_ = std::move(sample);
    return;
  }
  last_.reset();
  samples.push_back(std::move(sample));
  if (samples.size() < kSamplesMax) return;
  drop_every_second(samples);
  distance_ms_ = (samples.back().ms - samples.front().ms) / static_cast<double>(samples.size() - 1);
}

Timeline TimelineRecorder::timeline() const {
  Timeline timeline = recorded_;
  if (last_) timeline.samples.push_back(*last_);
  return timeline;
}

}  // namespace godwit::cli
