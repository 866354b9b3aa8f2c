// SPDX-License-Identifier: Apache-2.0
//
// The Hungarian method, in the shape that adds one row at a time. Each row and each column has a
// price, such that no cost is below the sum of its two prices, and every pair that was chosen costs
// exactly that: then no other choice can be cheaper. A new row takes a column that is taken by
// pushing its owner on to another one, along the path whose cost exceeds the prices least (the
// shortest path, found as Dijkstra's), and the prices move by as much.
#include "engine/numa/assignment.h"

#include <algorithm>
#include <limits>

#include "engine/base/check.h"

namespace godwit::numa {
namespace {

constexpr int64_t kInfinite = std::numeric_limits<int64_t>::max();

class Assignment {
 public:
  explicit Assignment(const std::vector<std::vector<int64_t>>& costs)
      : costs_(costs),
        column_count_(costs.front().size()),
        row_price_(costs.size()),
        column_price_(column_count_ + 1),
        owner_(column_count_ + 1, kNobody) {}

  void add(size_t row) {
    // One more column than there are: the new row owns it until the path is found.
    const size_t start = column_count_;
    owner_[start] = row;
    std::vector<int64_t> excess(column_count_, kInfinite);  // of the cheapest path to each column
    std::vector<size_t> previous(column_count_, start);     // on that path
    std::vector<char> reached(column_count_ + 1, 0);

    size_t column = start;
    while (owner_[column] != kNobody) {
      reached[column] = 1;
      column = extend(column, reached, excess, previous);
    }
    while (column != start) {
      owner_[column] = owner_[previous[column]];
      column = previous[column];
    }
    owner_[start] = kNobody;
  }

  std::vector<size_t> columns() const {
    std::vector<size_t> columns(costs_.size());
    for (size_t column = 0; column < column_count_; column++)
      if (owner_[column] != kNobody) columns[owner_[column]] = column;
    return columns;
  }

 private:
  static constexpr size_t kNobody = SIZE_MAX;

  // Looks from the owner of `column` at all columns not reached, moves the prices so that one more
  // of them is, and returns it.
  size_t extend(size_t column, const std::vector<char>& reached, std::vector<int64_t>& excess,
                std::vector<size_t>& previous) {
    const size_t row = owner_[column];
    size_t nearest = kNobody;
    for (size_t other = 0; other < column_count_; other++) {
      if (reached[other] != 0) continue;
      const int64_t beyond = costs_[row][other] - row_price_[row] - column_price_[other];
      if (beyond < excess[other]) {
        excess[other] = beyond;
        previous[other] = column;
      }
      if (nearest == kNobody || excess[other] < excess[nearest]) nearest = other;
    }
    CHECK(nearest != kNobody);
    const int64_t step = excess[nearest];
    for (size_t other = 0; other <= column_count_; other++) {
      if (reached[other] != 0) {
        row_price_[owner_[other]] += step;
        column_price_[other] -= step;
      } else if (other < column_count_) {
        excess[other] -= step;
      }
    }
    return nearest;
  }

  const std::vector<std::vector<int64_t>>& costs_;
  size_t column_count_;
  std::vector<int64_t> row_price_;
  std::vector<int64_t> column_price_;
  std::vector<size_t> owner_;  // the row that has each column
};

}  // namespace

std::vector<size_t> assign_cheapest(const std::vector<std::vector<int64_t>>& costs) {
  if (costs.empty()) return {};
  for (const std::vector<int64_t>& row : costs) {
    CHECK(row.size() == costs.front().size());
    CHECK(row.size() >= costs.size());
  }
  Assignment assignment(costs);
  for (size_t row = 0; row < costs.size(); row++) assignment.add(row);
  return assignment.columns();
}

}  // namespace godwit::numa
