// SPDX-License-Identifier: Apache-2.0
//
// The rails of this host: what there is to choose from, for defaults and for showing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace godwit {

// A port of an RDMA device, with the address that lanes on it use unless told otherwise.
struct RdmaRail {
  std::string name;  // what parse_rail_name() takes: "rxe0:1/1", or "rxe0:1" without an address
  std::string device;
  uint8_t port;
  std::string state;  // "active", "down", … as verbs calls it
  bool usable;        // active, and has an address
  std::string gid;
  std::string host;  // an IP address, "" when it has none
  std::string netdev;
};

// In the order of the devices. Empty on a host without RDMA.
std::vector<RdmaRail> list_rails();

}  // namespace godwit
