// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/tournament.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>

namespace godwit::qualify {
namespace {

class Tournament : public testing::TestWithParam<size_t> {};

TEST_P(Tournament, EverybodyMeetsEverybodyOnce) {
  const size_t hosts = GetParam();
  std::set<std::pair<size_t, size_t>> met;
  for (const auto& round : tournament_rounds(hosts)) {
    for (const HostPair& pair : round) {
      EXPECT_LT(pair.first, pair.second);
      EXPECT_LT(pair.second, hosts);
      EXPECT_TRUE(met.insert({pair.first, pair.second}).second) << "they have met before";
    }
  }
  EXPECT_EQ(met.size(), hosts * (hosts - 1) / 2);
}

TEST_P(Tournament, NobodyHasTwoPeersInARound) {
  for (const auto& round : tournament_rounds(GetParam())) {
    std::set<size_t> busy;
    for (const HostPair& pair : round) {
      EXPECT_TRUE(busy.insert(pair.first).second);
      EXPECT_TRUE(busy.insert(pair.second).second);
    }
    EXPECT_GE(busy.size() + 1, GetParam()) << "more than one rests";
  }
}

TEST_P(Tournament, HasNoMoreRoundsThanItNeeds) {
  const size_t hosts = GetParam();

  EXPECT_EQ(tournament_rounds(hosts).size(), hosts % 2 == 0 ? hosts - 1 : hosts);
}

TEST_P(Tournament, AtOnceEverybodySendsToOneAndReceivesFromOne) {
  std::set<size_t> receivers;
  for (const HostPair& pair : everyone_at_once(GetParam())) {
    EXPECT_NE(pair.first, pair.second);
    receivers.insert(pair.second);
  }
  EXPECT_EQ(receivers.size(), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Sizes, Tournament, testing::Values(2, 3, 4, 5, 8, 9, 64, 101));

TEST(TournamentOfOne, HasNothingToPlay) {
  EXPECT_TRUE(tournament_rounds(1).empty());
  EXPECT_TRUE(tournament_rounds(0).empty());
  EXPECT_TRUE(everyone_at_once(1).empty());
}

TEST(EveryoneAtOnce, NeighboursDoNotMeet) {
  EXPECT_EQ(everyone_at_once(4), (std::vector<HostPair>{{0, 2}, {1, 3}, {2, 0}, {3, 1}}));
}

}  // namespace
}  // namespace godwit::qualify
