// SPDX-License-Identifier: Apache-2.0
#include "transports/loopback/loopback_control_channel.h"

#include <gtest/gtest.h>

#include <thread>

namespace godwit {
namespace {

using When = ControlCut::When;

std::vector<std::byte> message_of(int value) {
  return {static_cast<std::byte>(value)};
}
Deadline soon() {
  return deadline_in(seconds(20));
}

TEST(LoopbackControlChannel, CarriesMessagesInOrderBothWays) {
  LoopbackControlPair pair = make_loopback_control_pair();

  ASSERT_TRUE(pair.first->send(message_of(1), soon()));
  ASSERT_TRUE(pair.first->send(message_of(2), soon()));
  ASSERT_TRUE(pair.second->send(message_of(3), soon()));

  EXPECT_EQ(pair.second->receive(soon()).value(), message_of(1));
  EXPECT_EQ(pair.second->receive(soon()).value(), message_of(2));
  EXPECT_EQ(pair.first->receive(soon()).value(), message_of(3));
}

TEST(LoopbackControlChannel, LaneTokensAreTheSameAtBothEndsAndDifferFromLaneToLane) {
  LoopbackControlPair pair = make_loopback_control_pair();
  LoopbackControlPair other = make_loopback_control_pair();

  EXPECT_EQ(pair.first->lane_token(1).value(), pair.second->lane_token(1).value());
  EXPECT_NE(pair.first->lane_token(1).value(), pair.first->lane_token(2).value());
  EXPECT_NE(pair.first->lane_token(1).value(), other.first->lane_token(1).value());
}

TEST(LoopbackControlChannel, ACutBeforeAMessageLosesItAndTellsTheSender) {
  LoopbackControlPair pair =
      make_loopback_control_pair({.from_first = ControlCut{2, When::kBeforeMessage}});

  EXPECT_TRUE(pair.first->send(message_of(1), soon()));
  const Status second = pair.first->send(message_of(2), soon());

  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kPeerLost);
  EXPECT_EQ(pair.second->receive(soon()).value(), message_of(1));
  EXPECT_EQ(pair.second->receive(soon()).error().code, Errc::kPeerLost);
}

TEST(LoopbackControlChannel, ACutThatLosesAMessageDoesNotTellTheSender) {
  LoopbackControlPair pair =
      make_loopback_control_pair({.from_second = ControlCut{1, When::kLosingMessage}});

  EXPECT_TRUE(pair.second->send(message_of(1), soon()));

  EXPECT_EQ(pair.first->receive(soon()).error().code, Errc::kPeerLost);
  EXPECT_EQ(pair.second->receive(soon()).error().code, Errc::kPeerLost);
}

TEST(LoopbackControlChannel, ACutAfterAMessageDeliversIt) {
  LoopbackControlPair pair =
      make_loopback_control_pair({.from_first = ControlCut{1, When::kAfterMessage}});

  EXPECT_TRUE(pair.first->send(message_of(1), soon()));

  EXPECT_EQ(pair.second->receive(soon()).value(), message_of(1));
  EXPECT_EQ(pair.second->receive(soon()).error().code, Errc::kPeerLost);
  EXPECT_FALSE(pair.first->send(message_of(2), soon()));
}

TEST(LoopbackControlChannel, ShutDownWakesTheReceiver) {
  LoopbackControlPair pair = make_loopback_control_pair();

  std::jthread other([&] { pair.first->shut_down(); });

  EXPECT_EQ(pair.first->receive(soon()).error().code, Errc::kCancelled);
  EXPECT_EQ(pair.second->receive(soon()).error().code, Errc::kPeerLost);
}

TEST(LoopbackControlChannel, ATimeOutLeavesItAlive) {
  LoopbackControlPair pair = make_loopback_control_pair();

  EXPECT_EQ(pair.second->receive(deadline_in(milliseconds(1))).error().code, Errc::kTimeout);
  EXPECT_TRUE(pair.first->send(message_of(1), soon()));
  EXPECT_TRUE(pair.second->receive(soon()));
}

}  // namespace
}  // namespace godwit
