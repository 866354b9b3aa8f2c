// SPDX-License-Identifier: Apache-2.0
//
// Where the destination listens for lanes, and what it tells the source about it.
#pragma once

#include <string>

namespace godwit::cli {

struct LaneAddress {
  std::string listen;          // "HOST:PORT"
  std::string advertise_host;  // empty: as the listener says
};

// `asked` is --lane-listen, or empty: then lanes arrive at the address by which the source reached
// the control connection, `control`, at any port. An address that stands for all of them
// ("0.0.0.0") means nothing to the source: it is told the control connection's host.
LaneAddress choose_lane_address(const std::string& asked, const std::string& control);

}  // namespace godwit::cli
