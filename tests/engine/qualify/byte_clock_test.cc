// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/byte_clock.h"

#include <gtest/gtest.h>

namespace godwit::qualify {
namespace {

const Clock::time_point kStart{seconds(100)};

TEST(ByteClock, ArrivalsOfASteadyLinkFillEveryStretchAlike) {
  ByteClock clock(kStart, seconds(2));

  // More than a stretch apart.
  for (int i = -2; i < 20; ++i) clock.add(kStart + i * milliseconds(70), 7'000'000);

  ASSERT_EQ(clock.settled(), 26U);  // of 1330 ms
  for (size_t stretch = 0; stretch < clock.settled(); ++stretch)
    EXPECT_NEAR(static_cast<double>(clock.bytes_in(stretch)), 5e6, 2);
  EXPECT_DOUBLE_EQ(clock.bytes_per_s(), 1e8);
}

TEST(ByteClock, WhatCameBeforeTheStartDoesNotCount) {
  ByteClock clock(kStart, seconds(1));

  clock.add(kStart - milliseconds(50), 1'000'000);
  clock.add(kStart + milliseconds(50), 2'000'000);  // half of it came before
  clock.add(kStart + milliseconds(100), 3'000'000);

  EXPECT_EQ(clock.bytes_in(0), 1'000'000U);
  EXPECT_EQ(clock.bytes_in(1), 3'000'000U);
  EXPECT_EQ(clock.arrivals(), 2U);
  EXPECT_DOUBLE_EQ(clock.bytes_per_s(), 4e7);
}

TEST(ByteClock, StallIsInTheStretchesWhereItWas) {
  ByteClock clock(kStart, seconds(2));
  clock.add(kStart, 1);
  for (int i = 1; i <= 100; ++i) clock.add(kStart + i * milliseconds(1), 1000);

  clock.add(kStart + milliseconds(300), 1000);

  EXPECT_EQ(clock.bytes_in(1), 50'000U);
  EXPECT_LE(clock.bytes_in(3), 250U);
}

TEST(ByteClock, MoreTimeThanItHasIsLeftOut) {
  ByteClock clock(kStart, milliseconds(100));

  clock.add(kStart, 1);
  clock.add(kStart + seconds(60), 60'000);

  EXPECT_EQ(clock.settled(), 3U);
  EXPECT_EQ(clock.bytes_in(0), 50U);
}

TEST(ByteClock, OneArrivalIsNoRate) {
  ByteClock clock(kStart, seconds(1));
  clock.add(kStart + milliseconds(1), 1000);
  EXPECT_EQ(clock.bytes_per_s(), 0);
}

}  // namespace
}  // namespace godwit::qualify
