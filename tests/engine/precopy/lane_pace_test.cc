// SPDX-License-Identifier: Apache-2.0
#include "engine/precopy/lane_pace.h"

#include <gtest/gtest.h>

#include "engine/base/units.h"

namespace godwit::precopy {
namespace {

constexpr uint64_t kMost = 8 * kMiB;

// A rail that always has something to carry, at a speed that the test chooses.
class Rail {
 public:
  void carry(LanePace& pace, uint64_t bytes_per_s, Clock::duration how_long) {
    const Clock::time_point end = now_ + how_long;
    while (now_ < end) {
      pace.wait(now_);
      now_ += milliseconds(5);
      pace.complete(bytes_per_s / 200, now_);
    }
  }
  void rest(LanePace& pace, Clock::duration how_long) {
    pace.flow();
    now_ += how_long;
  }

 private:
  Clock::time_point now_{};
};

TEST(LanePace, AllowsTheMostUntilASpeedIsKnown) {
  EXPECT_EQ(LanePace(kMost).in_flight_bytes(), kMost);
}

TEST(LanePace, AllowsWhatTheRailCarriesInAShortTime) {
  LanePace pace(kMost);
  Rail rail;

  rail.carry(pace, 40 * kMiB, seconds(1));
  EXPECT_NEAR(static_cast<double>(pace.in_flight_bytes()), 2.0 * kMiB, 1.0 * kKiB);

  rail.carry(pace, 10 * kGiB, seconds(1));
  EXPECT_EQ(pace.in_flight_bytes(), kMost);

  rail.carry(pace, 1 * kMiB, seconds(1));
  EXPECT_EQ(pace.in_flight_bytes(), 512 * kKiB);
}

TEST(LanePace, CallsARailSlowThatCarriesAQuarterOfWhatItDid) {
  LanePace pace(kMost);
  Rail rail;
  rail.carry(pace, 1000 * kMiB, seconds(1));
  rail.carry(pace, 400 * kMiB, milliseconds(100));
  EXPECT_FALSE(pace.is_slow());

  rail.carry(pace, 100 * kMiB, milliseconds(100));

  EXPECT_TRUE(pace.is_slow());
  EXPECT_EQ(pace.take_slowdowns(), 1U);
  EXPECT_EQ(pace.take_slowdowns(), 0U);
}

TEST(LanePace, CallsItSlowNoLongerWhenItHasRecovered) {
  LanePace pace(kMost);
  Rail rail;
  rail.carry(pace, 1000 * kMiB, seconds(1));
  rail.carry(pace, 100 * kMiB, milliseconds(100));

  rail.carry(pace, 300 * kMiB, milliseconds(100));
  EXPECT_TRUE(pace.is_slow());
  rail.carry(pace, 900 * kMiB, milliseconds(100));

  EXPECT_FALSE(pace.is_slow());
  EXPECT_EQ(pace.take_slowdowns(), 1U);
}

TEST(LanePace, ForgetsWhatARailOnceCarried) {
  LanePace pace(kMost);
  Rail rail;
  rail.carry(pace, 1000 * kMiB, seconds(1));

  rail.carry(pace, 100 * kMiB, seconds(10));

  EXPECT_FALSE(pace.is_slow());
  EXPECT_EQ(pace.take_slowdowns(), 1U);
}

TEST(LanePace, DoesNotTakeTheTimeWithoutAnythingToSendForSlowness) {
  LanePace pace(kMost);
  Rail rail;
  rail.carry(pace, 1000 * kMiB, seconds(1));

  rail.rest(pace, seconds(5));
  rail.carry(pace, 1000 * kMiB, milliseconds(100));

  EXPECT_EQ(pace.take_slowdowns(), 0U);
  EXPECT_EQ(pace.in_flight_bytes(), kMost);
}

TEST(LanePace, LeavesATransportAloneThatHasABoundOfItsOwn) {
  LanePace pace(LanePace::kUnbounded);
  Rail rail;
  rail.carry(pace, 1000 * kMiB, seconds(1));
  rail.carry(pace, 1 * kMiB, seconds(1));

  EXPECT_EQ(pace.in_flight_bytes(), LanePace::kUnbounded);
  EXPECT_FALSE(pace.is_slow());
}

}  // namespace
}  // namespace godwit::precopy
