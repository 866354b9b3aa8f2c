// SPDX-License-Identifier: Apache-2.0
//
// The rails of this host, as the command line asks for them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/agent_options.h"
#include "engine/base/result.h"
#include "engine/numa/topology.h"
#include "engine/rail.h"

namespace godwit::cli {

struct LaneRails {
  std::vector<std::unique_ptr<Transport>> transports;
  std::vector<Rail> rails;  // RDMA before TCP
  std::string note;         // why RDMA was left out, when it was not asked to be; else empty
  // Of this host, as far as placement has a choice; empty where it could not be read.
  numa::Topology topology;
};

// Errors: kRefused, when --transport rdma was asked for and there is no RDMA device.
Result<LaneRails> make_lane_rails(const AgentOptions& options);

// Says where each listens: `asked` is --lane-listen or empty, `control` the address by which the
// source reached the control connection. Requires: --lane-listen was checked.
void set_listen_addresses(LaneRails& rails, const std::string& asked, const std::string& control);

}  // namespace godwit::cli
