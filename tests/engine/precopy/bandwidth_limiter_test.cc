// SPDX-License-Identifier: Apache-2.0
#include "engine/precopy/bandwidth_limiter.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace godwit::precopy {
namespace {

constexpr uint64_t kRate = 1'000'000'000;  // 1 byte per nanosecond
const Clock::time_point kStart{seconds(1000)};

TEST(BandwidthLimiter, LetsEverythingPassWithoutALimit) {
  BandwidthLimiter limiter(0);

  EXPECT_EQ(limiter.reserve(1 << 30, kStart), kStart);
  EXPECT_EQ(limiter.reserve(1 << 30, kStart), kStart);
}

TEST(BandwidthLimiter, SpacesReservationsByTheirSize) {
  BandwidthLimiter limiter(kRate);

  const auto first = limiter.reserve(10'000'000, kStart);
  const auto second = limiter.reserve(10'000'000, kStart);
  const auto third = limiter.reserve(1, kStart);

  EXPECT_EQ(second - first, milliseconds(10));
  EXPECT_EQ(third - second, milliseconds(10));
}

TEST(BandwidthLimiter, KeepsToARateThatIsSetLater) {
  BandwidthLimiter limiter(0);
  limiter.set_rate(kRate);

  const auto first = limiter.reserve(10'000'000, kStart);

  EXPECT_FALSE(limiter.unlimited());
  EXPECT_EQ(limiter.reserve(1, kStart) - first, milliseconds(10));
}

TEST(BandwidthLimiter, SavesUpNoMoreThanABurst) {
  BandwidthLimiter limiter(kRate);
  limiter.reserve(1, kStart);

  const auto later = kStart + seconds(60);
  const auto first = limiter.reserve(10'000'000, later);
  const auto second = limiter.reserve(10'000'000, later);

  EXPECT_LE(first, later);
  EXPECT_GE(second, later + milliseconds(5));
}

TEST(BandwidthLimiter, KeepsTheRateAcrossThreads) {
  BandwidthLimiter limiter(kRate);
  std::vector<std::jthread> lanes;
  for (int lane = 0; lane < 4; ++lane) {
    lanes.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) limiter.reserve(1000, kStart);
    });
  }
  lanes.clear();

  // 4,000 reservations of a microsecond each lie behind the next one.
  EXPECT_GE(limiter.reserve(1, kStart), kStart + milliseconds(4) - milliseconds(2));
}

}  // namespace
}  // namespace godwit::precopy
