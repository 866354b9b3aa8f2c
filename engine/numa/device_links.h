// SPDX-License-Identifier: Apache-2.0
//
// What hwloc does not tell about devices, from sysfs: whether they are up, which network interface
// an RDMA device stands on, and the RDMA devices that have no place in the machine at all. Those
// are software (Soft-RoCE, iWARP) over a network interface, and are where that is. An interface
// may be software as well (a VLAN, a bond); then what is below it counts, as far as that agrees.
#pragma once

#include <string>

#include "engine/numa/topology.h"

namespace godwit::numa {

// Completes `topology`, adding RDMA devices that are not in it. `sysfs` is "/sys".
void add_device_links(Topology& topology, const std::string& sysfs);

// Returns the node of a network interface, or kUnknownNode.
int node_of_interface(const Topology& topology, const std::string& sysfs,
                      const std::string& interface);

}  // namespace godwit::numa
