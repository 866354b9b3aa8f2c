// SPDX-License-Identifier: Apache-2.0
//
// The end of post-copy, with any one of its messages lost.
#include "engine/migration/farewell.h"

#include <gtest/gtest.h>

#include <thread>

#include "engine/wire/messages.h"
#include "transports/loopback/loopback_reconnector.h"

namespace godwit {
namespace {

const Farewell kFarewell{
    .session = "00c0ffee00c0ffee", .software = "test", .peer_timeout = seconds(2)};

// Heartbeats count as messages, and the first comes after half a second: all is over by then.
class FarewellTest : public testing::Test {
 protected:
  struct Outcome {
    bool source_knows = false;
    bool source_was_answered = false;
    bool destination_was_told = false;
  };

  // Over a first connection, and others when that is lost.
  Outcome run(ControlFaultPlan first) {
    LoopbackControlPair control = make_loopback_control_pair(first);
    LoopbackReconnection reconnection([](uint64_t) { return ControlFaultPlan(); });
    Outcome outcome;
    std::thread destination([&] {
      {
        Interruption interruption;
        ControlLink link(*control.second, interruption, kFarewell.peer_timeout);
        outcome.destination_was_told = tell_complete(link, kFarewell);
      }
      if (outcome.destination_was_told) return;
      outcome.destination_was_told =
          tell_whoever_comes(reconnection.destination(), kFarewell, deadline_in(seconds(20)))
              .value_or(false);
    });
    {
      Interruption interruption;
      ControlLink link(*control.first, interruption, kFarewell.peer_timeout);
      outcome.source_knows = link.expect<FetchComplete>(deadline_in(seconds(20))).has_value();
      if (outcome.source_knows) outcome.source_was_answered = tell_released(link, kFarewell);
    }
    if (!outcome.source_was_answered) {
      // What it still does not know it learns by coming again, which a destination that has ended
      // is not there for.
      tell_released_again(reconnection.source(), kFarewell, deadline_in(milliseconds(500)));
    }
    destination.join();
    return outcome;
  }
};

TEST_F(FarewellTest, EndsOnBothSidesWhenNothingIsLost) {
  const Outcome outcome = run({});

  EXPECT_TRUE(outcome.source_was_answered);
  EXPECT_TRUE(outcome.destination_was_told);
}

TEST_F(FarewellTest, DestinationIsToldAgainWhenItsAnswerWasLost) {
  for (const ControlCut::When when :
       {ControlCut::When::kBeforeMessage, ControlCut::When::kLosingMessage,
        ControlCut::When::kAfterMessage}) {
    const Outcome outcome = run({.from_first = ControlCut{1, when}, .from_second = {}});

    EXPECT_TRUE(outcome.source_knows);
    EXPECT_TRUE(outcome.destination_was_told);
  }
}

TEST_F(FarewellTest, SourceThatComesLateIsToldAtOnce) {
  LoopbackReconnection reconnection([](uint64_t) { return ControlFaultPlan(); });
  Result<bool> told = false;
  std::thread destination(
      [&] { told = tell_whoever_comes(reconnection.destination(), kFarewell, Deadline::max()); });

  tell_released_again(reconnection.source(), kFarewell, deadline_in(seconds(20)));
  destination.join();

  EXPECT_TRUE(told.value_or(false));
}

TEST_F(FarewellTest, SourceOfAnotherSessionIsTurnedAway) {
  LoopbackReconnection reconnection([](uint64_t) { return ControlFaultPlan(); });
  Result<bool> told = false;
  std::thread destination(
      [&] { told = tell_whoever_comes(reconnection.destination(), kFarewell, Deadline::max()); });
  Farewell other = kFarewell;
  other.session = "0123456789abcdef";

  tell_released_again(reconnection.source(), other, deadline_in(milliseconds(500)));
  reconnection.destination().stop();
  destination.join();

  EXPECT_FALSE(told);
}

}  // namespace
}  // namespace godwit
