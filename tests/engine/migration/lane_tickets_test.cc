// SPDX-License-Identifier: Apache-2.0
#include "engine/lane_tickets.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

std::array<std::byte, 32> token_of(uint32_t lane) {
  std::array<std::byte, 32> token{};
  for (size_t i = 0; i < token.size(); ++i) token[i] = static_cast<std::byte>(i * 7 + lane);
  return token;
}

class LaneTicketsTest : public testing::Test {
 protected:
  LaneTickets tickets_{[](uint32_t lane) -> Result<std::array<std::byte, 32>> {
    if (lane > 100) return fail(Errc::kSystem, "no token");
    return token_of(lane);
  }};
};

TEST_F(LaneTicketsTest, LetEachLaneInOnce) {
  EXPECT_TRUE(tickets_.redeem({token_of(3), 3}));
  EXPECT_FALSE(tickets_.redeem({token_of(3), 3}));
  EXPECT_TRUE(tickets_.redeem({token_of(4), 4}));
}

TEST_F(LaneTicketsTest, RefuseATokenWithAnyBitWrongAndStillTakeTheRightOne) {
  for (size_t bit = 0; bit < 256; ++bit) {
    LaneTicket ticket{token_of(3), 3};
    ticket.token[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    EXPECT_FALSE(tickets_.redeem(ticket));
  }
  EXPECT_FALSE(tickets_.redeem({token_of(3), 4}));
  EXPECT_FALSE(tickets_.redeem({token_of(101), 101}));
  EXPECT_TRUE(tickets_.redeem({token_of(3), 3}));
}

TEST_F(LaneTicketsTest, AreNoGoodOnceTheLaneWasGivenUp) {
  EXPECT_TRUE(tickets_.use_up(5));
  EXPECT_FALSE(tickets_.redeem({token_of(5), 5}));
  EXPECT_TRUE(tickets_.redeem({token_of(6), 6}));
  EXPECT_FALSE(tickets_.use_up(6));
}

TEST_F(LaneTicketsTest, AreGoodAgainWhenTheConnectionWasLostOnTheWay) {
  EXPECT_TRUE(tickets_.redeem({token_of(7), 7}));
  tickets_.give_back(7);
  EXPECT_TRUE(tickets_.redeem({token_of(7), 7}));
}

}  // namespace
}  // namespace godwit
