// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/interruption.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

Error error_named(const char* text) {
  return fail(Errc::kCancelled, "{}", text).value();
}

TEST(Interruption, GivesEverybodyTheFirstError) {
  Interruption interruption;

  interruption.raise(error_named("first"));
  interruption.raise(error_named("second"));

  EXPECT_EQ(interruption.check().error().text(), "first");
}

TEST(Interruption, IgnoresWhatComesAfterTheSeal) {
  Interruption interruption;

  ASSERT_TRUE(interruption.seal());
  interruption.raise(error_named("too late"));

  EXPECT_FALSE(interruption.raised());
  EXPECT_TRUE(interruption.check());
}

TEST(Interruption, CannotBeSealedOnceRaised) {
  Interruption interruption;
  interruption.raise(error_named("in time"));

  const Status sealed = interruption.seal();

  ASSERT_FALSE(sealed);
  EXPECT_EQ(sealed.error().text(), "in time");
}

TEST(Interruption, WakesHooksOnceAndLateOnesAtOnce) {
  Interruption interruption;
  int early = 0;
  int late = 0;

  const Interruption::Hook first = interruption.on_raise([&] { ++early; });
  interruption.raise(error_named("now"));
  interruption.raise(error_named("again"));
  const Interruption::Hook second = interruption.on_raise([&] { ++late; });

  EXPECT_EQ(early, 1);
  EXPECT_EQ(late, 1);
}

TEST(Interruption, LeavesARemovedHookAlone) {
  Interruption interruption;
  int woken = 0;

  {
    const Interruption::Hook hook = interruption.on_raise([&] { ++woken; });
  }
  interruption.raise(error_named("now"));

  EXPECT_EQ(woken, 0);
}

}  // namespace
}  // namespace godwit
