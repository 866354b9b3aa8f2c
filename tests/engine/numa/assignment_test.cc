// SPDX-License-Identifier: Apache-2.0
#include "engine/numa/assignment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace godwit::numa {
namespace {

using Costs = std::vector<std::vector<int64_t>>;

int64_t total(const Costs& costs, const std::vector<size_t>& columns) {
  int64_t sum = 0;
  for (size_t row = 0; row < costs.size(); row++) sum += costs[row][columns[row]];
  return sum;
}

// The least total of all ways there are.
int64_t least_total(const Costs& costs) {
  std::vector<size_t> columns(costs.front().size());
  std::iota(columns.begin(), columns.end(), 0U);
  int64_t least = total(costs, columns);
  while (std::next_permutation(columns.begin(), columns.end()))
    least = std::min(least, total(costs, columns));
  return least;
}

TEST(Assignment, LooksBeyondTheBestOfEachRow) {
  EXPECT_EQ(assign_cheapest({{1, 2}, {1, 9}}), (std::vector<size_t>{1, 0}));
}

TEST(Assignment, NothingHasNothing) {
  EXPECT_TRUE(assign_cheapest({}).empty());
}

TEST(Assignment, IsTheCheapestOfAll) {
  std::mt19937 random(7);  // NOLINT: the same costs each time
  std::uniform_int_distribution<int64_t> cost(0, 20);
  for (int round = 0; round < 200; round++) {
    Costs costs(1 + random() % 5, std::vector<int64_t>(5 + random() % 2));
    for (std::vector<int64_t>& row : costs)
      for (int64_t& value : row) value = cost(random);

    std::vector<size_t> columns = assign_cheapest(costs);

    EXPECT_EQ(total(costs, columns), least_total(costs)) << "round " << round;
    std::sort(columns.begin(), columns.end());
    EXPECT_EQ(std::unique(columns.begin(), columns.end()), columns.end()) << "round " << round;
  }
}

}  // namespace
}  // namespace godwit::numa
