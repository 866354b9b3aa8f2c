// SPDX-License-Identifier: Apache-2.0
//
// What becomes of a migration's progress in its report's timeline.
#include "cli/timeline_recorder.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/report_json.h"

namespace godwit::cli {
namespace {

constexpr Clock::time_point kBegin{seconds(1000)};

Clock::time_point at(int64_t ms) {
  return kBegin + milliseconds(ms);
}

Progress sent(uint64_t bytes, const char* phase = "pre-copy") {
  Progress progress;
  progress.phase = phase;
  progress.bytes_sent = bytes;
  progress.round = 1;
  return progress;
}

TEST(TimelineRecorder, TimeBeginsWithTheFirstState) {
  TimelineRecorder recorder;
  recorder.enter("connecting", at(0));
  recorder.enter("precopy", at(20));
  recorder.add(sent(100), at(120));

  const Timeline timeline = recorder.timeline();

  ASSERT_EQ(timeline.phases.size(), 2U);
  EXPECT_EQ(timeline.phases[1].state, "precopy");
  EXPECT_DOUBLE_EQ(timeline.phases[1].start_ms, 20);
  ASSERT_EQ(timeline.samples.size(), 1U);
  EXPECT_DOUBLE_EQ(timeline.samples[0].ms, 120);
}

TEST(TimelineRecorder, PostCopyGoesOnCountingWhereTheRoundsEnded) {
  TimelineRecorder recorder;
  recorder.enter("precopy", at(0));
  recorder.add(sent(1000), at(10));
  // More at once than before, and less again when another agent takes over there.
  recorder.add(sent(5000, "post-copy"), at(20));
  recorder.add(sent(7000, "post-copy"), at(30));
  recorder.add(sent(10, "post-copy"), at(40));

  const std::vector<TimelineSample> samples = recorder.timeline().samples;

  ASSERT_EQ(samples.size(), 4U);
  EXPECT_EQ(samples[1].bytes_sent, 6000U);
  EXPECT_EQ(samples[2].bytes_sent, 8000U);
  EXPECT_EQ(samples[3].bytes_sent, 8010U);
}

TEST(TimelineRecorder, StaysBoundedAndEvenAndKeepsBothEnds) {
  TimelineRecorder recorder;
  recorder.enter("precopy", at(0));
  constexpr int kSamples = 100'000;
  for (int i = 0; i < kSamples; ++i) {
    recorder.enter("reconnecting", at(i));
    recorder.add(sent(static_cast<uint64_t>(i)), at(i));
  }

  const Timeline timeline = recorder.timeline();

  EXPECT_EQ(timeline.phases.size(), TimelineRecorder::kPhasesMax);
  EXPECT_LE(timeline.samples.size(), TimelineRecorder::kSamplesMax + 1);
  EXPECT_GE(timeline.samples.size(), TimelineRecorder::kSamplesMax / 2);
  EXPECT_EQ(timeline.samples.front().bytes_sent, 0U);
  EXPECT_EQ(timeline.samples.back().bytes_sent, static_cast<uint64_t>(kSamples - 1));
  const double even = static_cast<double>(kSamples) / static_cast<double>(timeline.samples.size());
  for (size_t i = 1; i < timeline.samples.size(); ++i)
    EXPECT_LT(timeline.samples[i].ms - timeline.samples[i - 1].ms, 3 * even) << i;
}

TEST(TimelineRecorder, IsReportedWithTheRateBetweenSamples) {
  TimelineRecorder recorder;
  recorder.enter("precopy", at(0));
  Progress progress = sent(1'000'000);
  progress.rails = {{.name = "a", .bytes_sent = 400'000}, {.name = "b", .bytes_sent = 600'000}};
  recorder.add(progress, at(150));
  recorder.add(sent(3'000'000), at(250));
  MigrationReport report;
  report.setup_ms = 50;
  report.timeline = recorder.timeline();

  const auto json = nlohmann::json::parse(render_report_json(report, SessionRole::kSource));

  const auto& samples = json.at("timeline").at("samples");
  EXPECT_EQ(samples.at(0).at("throughput_bytes_per_s"), 1e7) << "since the setup";
  EXPECT_EQ(samples.at(0).at("rail_bytes_sent"), (std::vector<int>{400'000, 600'000}));
  EXPECT_EQ(samples.at(1).at("throughput_bytes_per_s"), 2e7);
  EXPECT_EQ(json.at("timeline").at("phases").at(0).at("state"), "precopy");
}

}  // namespace
}  // namespace godwit::cli
