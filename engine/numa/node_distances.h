// SPDX-License-Identifier: Apache-2.0
//
// How far NUMA nodes are from each other, in the firmware's measure: 10 is a node to itself, 20
// twice as slow. What the machine does not tell is guessed, in two ways. Two nodes without a figure
// are as far apart as most machines say they are. A node that is not known at all (kUnknownNode) is
// neither near nor far: half way between the nearest and the farthest it could be, so that it is
// worse than what is known to be near, and better than what is known to be far.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace godwit::numa {

inline constexpr int kUnknownNode = -1;

class NodeDistances {
 public:
  static constexpr uint32_t kLocal = 10;
  static constexpr uint32_t kRemote = 20;

  // The machine tells nothing.
  NodeDistances() = default;

  // `values` has a row per node, in the order of `nodes` (the operating system's numbers).
  //
  // Requires: as many values as the square of the nodes.
  NodeDistances(std::vector<int> nodes, std::vector<uint32_t> values);

  // The cost for node `from` to reach memory or a device on node `to`. Either may be kUnknownNode.
  uint32_t between(int from, int to) const;

 private:
  static constexpr size_t kNoRow = SIZE_MAX;

  size_t row_of(int node) const;
  uint32_t neutral(int node) const;

  std::vector<int> nodes_;
  std::vector<uint32_t> values_;
};

}  // namespace godwit::numa
