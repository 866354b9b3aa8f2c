// SPDX-License-Identifier: Apache-2.0
#include "transports/loopback/fault_plan.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

constexpr FaultPlan kPlan{.seed = 42,
                          .delayed_per_mille = 500,
                          .torn_per_mille = 500,
                          .short_post_per_mille = 500,
                          .slow_flush_per_mille = 500};

TEST(FaultDecisions, TheSameSeedDecidesTheSame) {
  const FaultDecisions first(kPlan, 1);
  const FaultDecisions second(kPlan, 1);

  for (uint64_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(first.delay_steps(i), second.delay_steps(i));
    EXPECT_EQ(first.torn_pages(i, 64), second.torn_pages(i, 64));
    EXPECT_EQ(first.accepted(i, 10), second.accepted(i, 10));
    EXPECT_EQ(first.flush_is_slow(i), second.flush_is_slow(i));
  }
}

TEST(FaultDecisions, LanesAndSeedsDecideDifferently) {
  FaultPlan other_seed = kPlan;
  other_seed.seed = 43;
  const FaultDecisions decisions(kPlan, 1);
  const FaultDecisions other_lane(kPlan, 2);
  const FaultDecisions other(other_seed, 1);
  int same_in_lane = 0;
  int same_in_seed = 0;

  for (uint64_t i = 0; i < 1000; ++i) {
    same_in_lane += decisions.torn_pages(i, 64) == other_lane.torn_pages(i, 64);
    same_in_seed += decisions.torn_pages(i, 64) == other.torn_pages(i, 64);
  }

  EXPECT_LT(same_in_lane, 400);
  EXPECT_LT(same_in_seed, 400);
}

TEST(FaultDecisions, HappenAboutAsOftenAsAskedFor) {
  const FaultDecisions decisions(kPlan, 0);
  int torn = 0;

  for (uint64_t i = 0; i < 10000; ++i) torn += decisions.torn_pages(i, 3) != 0;

  EXPECT_GT(torn, 4500);
  EXPECT_LT(torn, 5500);
}

TEST(FaultDecisions, TornPagesAreAmongThePagesOfTheOperation) {
  const FaultDecisions decisions({.seed = 1, .torn_per_mille = 1000}, 0);

  for (uint64_t i = 0; i < 1000; ++i) {
    EXPECT_NE(decisions.torn_pages(i, 3), 0U);
    EXPECT_EQ(decisions.torn_pages(i, 3) >> 3, 0U);
  }
}

TEST(FaultDecisions, ADisconnectCanBeForOneLaneOnly) {
  const FaultPlan plan{.disconnect_at_operation = 5, .disconnect_only_lane = 2};

  EXPECT_TRUE(FaultDecisions(plan, 2).disconnects_at_operation(5));
  EXPECT_FALSE(FaultDecisions(plan, 2).disconnects_at_operation(4));
  EXPECT_FALSE(FaultDecisions(plan, 1).disconnects_at_operation(5));
}

}  // namespace
}  // namespace godwit
