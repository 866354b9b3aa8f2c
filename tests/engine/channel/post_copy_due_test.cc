// SPDX-License-Identifier: Apache-2.0
#include "engine/channel/post_copy_due.h"

#include <gtest/gtest.h>

#include "engine/base/units.h"

namespace godwit {
namespace {

ChannelProgress in_round(uint32_t round, uint64_t sent_bytes, uint64_t remaining_bytes) {
  return {.ram_bytes = 1000 * kMiB,
          .sent_bytes = sent_bytes,
          .remaining_bytes = remaining_bytes,
          .round = round};
}

TEST(PostCopyDue, IsNeverWithoutBeingWanted) {
  EXPECT_FALSE(post_copy_is_due(PostCopy::kNever, in_round(100, 9000 * kMiB, 1000 * kMiB)));
}

TEST(PostCopyDue, WaitsForTheVmmToBegin) {
  EXPECT_FALSE(post_copy_is_due(PostCopy::kNow, {.round = 1}));
  EXPECT_TRUE(post_copy_is_due(PostCopy::kNow, in_round(1, 0, 1000 * kMiB)));
}

TEST(PostCopyDue, LetsTheFirstRoundsEnd) {
  EXPECT_FALSE(post_copy_is_due(PostCopy::kAuto, in_round(1, 900 * kMiB, 600 * kMiB)));
  EXPECT_FALSE(post_copy_is_due(PostCopy::kAuto, in_round(2, 1000 * kMiB, 200 * kMiB)));
}

TEST(PostCopyDue, ComesWhenWhatRemainsWouldBeTooMuch) {
  EXPECT_TRUE(post_copy_is_due(PostCopy::kAuto, in_round(2, 1000 * kMiB, 400 * kMiB)));
}

TEST(PostCopyDue, ComesAfterEightRoundsThatDoNotEnd) {
  EXPECT_FALSE(post_copy_is_due(PostCopy::kAuto, in_round(8, 1000 * kMiB, 10 * kMiB)));
  EXPECT_TRUE(post_copy_is_due(PostCopy::kAuto, in_round(9, 1000 * kMiB, 10 * kMiB)));
}

}  // namespace
}  // namespace godwit
