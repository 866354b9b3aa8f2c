// SPDX-License-Identifier: Apache-2.0
//
// The policy decides from numbers alone, so every case is a literal.
#include "engine/precopy/policy.h"

#include <gtest/gtest.h>

#include "engine/base/units.h"

namespace godwit::precopy {
namespace {

constexpr double kLink = 4e9;

RoundView view(uint64_t remaining_bytes, uint64_t previous_bytes) {
  return {.round = 3,
          .remaining_bytes = remaining_bytes,
          .previous_remaining_bytes = previous_bytes,
          .stuck_rounds = 0,
          .bandwidth_bytes_per_s = kLink,
          .dirty_bytes_per_s = 0,
          .fixed_downtime_s = 0.015};
}

TEST(PrecopyPolicy, GoesOnWhileRoundsShrinkEvenWhenTheLimitWouldHold) {
  const Verdict verdict = decide(view(100 * kMiB, 300 * kMiB), {.downtime_s_max = 0.3});

  EXPECT_EQ(verdict.decision, Decision::kNextRound);
}

TEST(PrecopyPolicy, SwitchesOverWhenNextToNothingRemains) {
  const Verdict verdict = decide(view(1 * kMiB, 300 * kMiB), {.downtime_s_max = 0.3});

  EXPECT_EQ(verdict.decision, Decision::kSwitchOver);
}

TEST(PrecopyPolicy, SwitchesOverWithinTheLimitWhenRoundsNoLongerShrink) {
  const Verdict verdict = decide(view(200 * kMiB, 210 * kMiB), {.downtime_s_max = 0.3});

  EXPECT_EQ(verdict.decision, Decision::kSwitchOver);
}

TEST(PrecopyPolicy, TriesAgainWhenRoundsAreStuckAboveTheLimit) {
  const Verdict verdict = decide(view(2 * kGiB, 2 * kGiB), {.downtime_s_max = 0.3});

  EXPECT_EQ(verdict.decision, Decision::kNextRound);
  EXPECT_EQ(verdict.stuck_rounds, 1U);
}

TEST(PrecopyPolicy, GivesUpWhenRoundsStayStuckAboveTheLimit) {
  RoundView stuck = view(2 * kGiB, 2 * kGiB);
  stuck.stuck_rounds = 3;

  const Verdict verdict = decide(stuck, {.downtime_s_max = 0.3, .stuck_rounds_max = 4});

  EXPECT_EQ(verdict.decision, Decision::kGiveUp);
}

TEST(PrecopyPolicy, ForgetsThatItWasStuckOnceARoundShrinks) {
  RoundView view_after_stuck = view(1 * kGiB, 3 * kGiB);
  view_after_stuck.stuck_rounds = 3;

  const Verdict verdict = decide(view_after_stuck, {.downtime_s_max = 0.1});

  EXPECT_EQ(verdict.decision, Decision::kNextRound);
  EXPECT_EQ(verdict.stuck_rounds, 0U);
}

TEST(PrecopyPolicy, NeverExceedsTheNumberOfRounds) {
  RoundView last = view(2 * kGiB, 8 * kGiB);
  last.round = 40;

  EXPECT_EQ(decide(last, {.downtime_s_max = 0.3, .rounds_max = 40}).decision, Decision::kGiveUp);
  EXPECT_EQ(decide(last, {.downtime_s_max = 3.0, .rounds_max = 40}).decision,
            Decision::kSwitchOver);
}

TEST(PrecopyPolicy, CountsWhatASwitchoverCostsWithoutAnyMemory) {
  const Verdict verdict = decide(view(1 * kMiB, 2 * kMiB), {.downtime_s_max = 0.010});

  EXPECT_NE(verdict.decision, Decision::kSwitchOver);
  EXPECT_GT(verdict.predicted_downtime_s, 0.015);
}

TEST(PrecopyPolicy, PredictsTransferTimeOnTopOfTheFixedCost) {
  const Verdict verdict = decide(view(400'000'000, 2'000'000'000), {.downtime_s_max = 0.3});

  EXPECT_DOUBLE_EQ(verdict.predicted_downtime_s, 0.115);
}

RoundView view_of_fast_writer(uint64_t remaining_bytes) {
  RoundView fast = view(remaining_bytes, remaining_bytes);
  fast.dirty_bytes_per_s = kLink;  // as fast as the link
  return fast;
}

TEST(PrecopyPolicy, DoesNotStallAGuestThatTheLinkOutruns) {
  RoundView slow = view(100'000'000, 300'000'000);
  slow.dirty_bytes_per_s = kLink / 2;

  EXPECT_EQ(decide(slow, {}).stall_s, 0);
}

TEST(PrecopyPolicy, StallsAFastWriterUntilHalfTheRoundHasTravelled) {
  const Verdict verdict = decide(view_of_fast_writer(40'000'000), {.stall_s_max = 0.010});

  EXPECT_EQ(verdict.decision, Decision::kNextRound);
  EXPECT_DOUBLE_EQ(verdict.stall_s, 0.005);
}

TEST(PrecopyPolicy, NeverStallsLongerThanTheLimit) {
  EXPECT_DOUBLE_EQ(decide(view_of_fast_writer(150'000'000), {.stall_s_max = 0.010}).stall_s, 0.010);
}

TEST(PrecopyPolicy, DoesNotStallWhereStallsCarryTooLittle) {
  const Verdict verdict = decide(view_of_fast_writer(1'000'000'000), {.stall_s_max = 0.010});

  EXPECT_EQ(verdict.stall_s, 0);
  EXPECT_EQ(verdict.decision, Decision::kSwitchOver);
}

TEST(PrecopyPolicy, SwitchesOverWhenAStallDidNotHelp) {
  RoundView stuck = view_of_fast_writer(100'000'000);
  stuck.stuck_rounds = 1;

  EXPECT_EQ(decide(stuck, {}).decision, Decision::kSwitchOver);
}

}  // namespace
}  // namespace godwit::precopy
