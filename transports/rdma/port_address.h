// SPDX-License-Identifier: Apache-2.0
//
// The address of a port: an entry of its GID table, which for RoCE is an IP address.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "transports/rdma/verbs_handles.h"

namespace godwit {

struct PortAddress {
  uint32_t gid_index;
  std::string gid;     // "::ffff:10.77.0.1"
  std::string host;    // as in "HOST:PORT": IPv6 in brackets. "" where a GID is no IP address.
  std::string netdev;  // the network device that has it, "" when there is none
};

// Returns the entry with that index or, without one, the first RoCE v2 one of an IPv4 address.
// Nothing when the port has no such entry.
std::optional<PortAddress> find_port_address(ibv_context* context, uint8_t port,
                                             std::optional<uint32_t> gid_index);

// Whether the port has that address still.
bool has_port_address(ibv_context* context, uint8_t port, const ibv_gid& gid);

}  // namespace godwit
