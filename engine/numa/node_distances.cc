// SPDX-License-Identifier: Apache-2.0
#include "engine/numa/node_distances.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"

namespace godwit::numa {

NodeDistances::NodeDistances(std::vector<int> nodes, std::vector<uint32_t> values)
    : nodes_(std::move(nodes)), values_(std::move(values)) {
  CHECK(values_.size() == nodes_.size() * nodes_.size());
}

uint32_t NodeDistances::between(int from, int to) const {
  if (from == kUnknownNode) return neutral(to);
  if (to == kUnknownNode) return neutral(from);
  const size_t row = row_of(from);
  const size_t column = row_of(to);
  if (row == kNoRow || column == kNoRow) return from == to ? kLocal : kRemote;
  return values_[row * nodes_.size() + column];
}

size_t NodeDistances::row_of(int node) const {
  const auto found = std::find(nodes_.begin(), nodes_.end(), node);
  return found == nodes_.end() ? kNoRow : static_cast<size_t>(found - nodes_.begin());
}

uint32_t NodeDistances::neutral(int node) const {
  const size_t row = row_of(node);
  if (row == kNoRow) return (kLocal + kRemote) / 2;
  const auto start = values_.begin() + static_cast<ptrdiff_t>(row * nodes_.size());
  const auto [nearest, farthest] =
      std::minmax_element(start, start + static_cast<ptrdiff_t>(nodes_.size()));
  return *nearest + (*farthest - *nearest) / 2;
}

}  // namespace godwit::numa
