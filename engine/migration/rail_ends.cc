// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/rail_ends.h"

#include <set>
#include <string>

#include "engine/numa/rail_placement.h"

namespace godwit {

std::vector<size_t> choose_rail_ends(const std::vector<Rail>& rails,
                                     const std::vector<AcceptedRail>& accepted) {
  std::vector<size_t> ends(rails.size(), kNoRailEnd);
  std::set<std::string> transports;
  for (const Rail& rail : rails) transports.insert(rail.transport->capabilities().name);
  for (const std::string& transport : transports) {
    std::vector<size_t> here;
    std::vector<size_t> there;
    std::vector<numa::Rail> rails_here;
    std::vector<numa::Rail> rails_there;
    for (size_t i = 0; i < rails.size(); ++i) {
      if (rails[i].transport->capabilities().name != transport) continue;
      here.push_back(i);
      rails_here.push_back({.name = rails[i].name, .node = rails[i].numa_node});
    }
    for (size_t i = 0; i < accepted.size(); ++i) {
      if (accepted[i].transport != transport) continue;
      there.push_back(i);
      rails_there.push_back({.name = accepted[i].name, .node = accepted[i].numa_node});
    }
    numa::RailReach reaches;
    for (size_t i : here) {
      std::vector<bool> row;
      for (size_t j : there) {
        const auto& is_neighbour = rails[i].is_neighbour;
        row.push_back(is_neighbour && is_neighbour(accepted[j].address));
      }
      reaches.push_back(std::move(row));
    }
    for (const numa::RailPair& pair : numa::pair_rails(rails_here, rails_there, reaches))
      ends[here[pair.source]] = there[pair.destination];
  }
  return ends;
}

}  // namespace godwit
