// SPDX-License-Identifier: Apache-2.0
//
// Which hosts are measured with which, and when: rounds of disjoint pairs, as the games of a
// tournament in which everybody meets everybody once, so that no host has more than one peer at a
// time.
//
// The circle method: the hosts sit around a table, and each plays the one across. Between two
// rounds all but the first move on by one seat. With an odd number there is one empty seat, and who
// sits across it rests.
#pragma once

#include <cstddef>
#include <vector>

namespace godwit::qualify {

// Two hosts, by their numbers.
struct HostPair {
  size_t first;
  size_t second;

  friend bool operator==(const HostPair&, const HostPair&) = default;
};

// All pairs of `hosts`, each once: hosts - 1 rounds for an even number, as many as hosts for an odd
// one. Nothing for fewer than two.
std::vector<std::vector<HostPair>> tournament_rounds(size_t hosts);

// Everybody at once: each host towards the one that is half the list further on, so that each sends
// to one and receives from one, and neighbours, which often share a switch, do not meet. Nothing
// for fewer than two.
std::vector<HostPair> everyone_at_once(size_t hosts);

}  // namespace godwit::qualify
