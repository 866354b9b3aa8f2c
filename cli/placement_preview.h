// SPDX-License-Identifier: Apache-2.0
//
// What placement would choose on this host as long as the other one is not known: which devices
// would be rails, which of them the pages of each NUMA node would take, and where lanes would run;
// and what the devices can do.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "engine/numa/rail_placement.h"
#include "engine/numa/topology.h"
#include "transports/rdma/rdma_features.h"

namespace godwit::cli {

struct PlacementPreview {
  struct Rail {
    std::string device;
    numa::LanePlacement lane;
  };
  // Which rails are the nearest to a node's pages: several when they are equally near.
  struct Choice {
    std::vector<std::string> rails;
    std::string reason;
  };

  std::vector<Rail> rails;
  std::vector<Choice> choices;  // one for each node of the topology
};

// The rails are the RDMA devices that are up or, where there is none, the network interfaces that
// are not down.
PlacementPreview preview_placement(const numa::Topology& topology);

nlohmann::ordered_json placement_json(const numa::Topology& topology,
                                      const PlacementPreview& preview,
                                      std::span<const RdmaFeatures> features);
std::string render_placement_text(const numa::Topology& topology, const PlacementPreview& preview,
                                  std::span<const RdmaFeatures> features);

}  // namespace godwit::cli
