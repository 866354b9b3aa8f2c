// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/tournament.h"

#include <algorithm>
#include <numeric>

namespace godwit::qualify {

std::vector<std::vector<HostPair>> tournament_rounds(size_t hosts) {
  if (hosts < 2) return {};
  // Of an odd number, the last seat is the empty one.
  std::vector<size_t> seats(hosts + hosts % 2);
  std::iota(seats.begin(), seats.end(), size_t{0});
  std::vector<std::vector<HostPair>> rounds(seats.size() - 1);
  for (std::vector<HostPair>& round : rounds) {
    for (size_t seat = 0; seat < seats.size() / 2; ++seat) {
      const size_t one = seats[seat];
      const size_t across = seats[seats.size() - 1 - seat];
      if (std::max(one, across) < hosts)
        round.push_back({.first = std::min(one, across), .second = std::max(one, across)});
    }
    std::rotate(seats.begin() + 1, seats.end() - 1, seats.end());
  }
  return rounds;
}

std::vector<HostPair> everyone_at_once(size_t hosts) {
  std::vector<HostPair> pairs;
  if (hosts < 2) return pairs;
  for (size_t host = 0; host < hosts; ++host)
    pairs.push_back({.first = host, .second = (host + hosts / 2) % hosts});
  return pairs;
}

}  // namespace godwit::qualify
