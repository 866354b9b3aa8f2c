// SPDX-License-Identifier: Apache-2.0
#include "cli/progress_display.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "cli/lane_address.h"

namespace godwit::cli {
namespace {

Progress some_progress() {
  return {.phase = "pre-copy",
          .bytes_sent = 1,
          .bytes_remaining = 512ULL << 20,
          .throughput_bytes_per_s = 1.85e9,
          .dirty_bytes_per_s = 120e6,
          .predicted_downtime_ms = 14.2,
          .round = 2};
}

TEST(ProgressDisplay, SaysWhatMatters) {
  EXPECT_EQ(format_progress(some_progress()),
            "pre-copy | 1.85 GB/s | dirtying 120 MB/s | 512 MiB left | downtime about 14.2 ms");
}

TEST(ProgressDisplay, WritesALinePerSecondWhereThereIsNoTerminal) {
  std::string written;
  ProgressDisplay display(DisplayStyle::kLines, [&](std::string_view text) { written += text; });
  Clock::time_point start{};

  for (int ms = 0; ms <= 2000; ms += 50) display.show(some_progress(), start + milliseconds(ms));

  EXPECT_EQ(std::count(written.begin(), written.end(), '\n'), 3);
  EXPECT_EQ(written.find('\r'), std::string::npos);
}

TEST(ProgressDisplay, RedrawsOneLineOnATerminalAndTakesItAway) {
  std::string written;
  {
    ProgressDisplay display(DisplayStyle::kRedrawnLine,
                            [&](std::string_view text) { written += text; });
    Clock::time_point start{};
    for (int ms = 0; ms <= 400; ms += 10) display.show(some_progress(), start + milliseconds(ms));
  }

  EXPECT_EQ(std::count(written.begin(), written.end(), '\n'), 0);
  EXPECT_EQ(std::count(written.begin(), written.end(), '\r'), 6);
  EXPECT_TRUE(written.ends_with("\r\033[K"));
}

TEST(LaneAddress, IsWhereTheSourceCameInUnlessTheUserSaysOtherwise) {
  LaneAddress chosen = choose_lane_address("", "192.0.2.2:7471");
  EXPECT_EQ(chosen.listen, "192.0.2.2:0");
  EXPECT_EQ(chosen.advertise_host, "");

  chosen = choose_lane_address("10.0.0.1:9000", "192.0.2.2:7471");
  EXPECT_EQ(chosen.listen, "10.0.0.1:9000");
  EXPECT_EQ(chosen.advertise_host, "");
}

TEST(LaneAddress, ThatStandsForAllIsToldAsTheOneThatWorked) {
  EXPECT_EQ(choose_lane_address("0.0.0.0:9000", "192.0.2.2:7471").advertise_host, "192.0.2.2");
  EXPECT_EQ(choose_lane_address("[::]:9000", "[2001:db8::2]:7471").advertise_host, "[2001:db8::2]");
}

}  // namespace
}  // namespace godwit::cli
