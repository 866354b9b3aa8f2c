// SPDX-License-Identifier: Apache-2.0
#include "engine/numa/device_links.h"

#include <fmt/core.h>

#include "engine/base/system_files.h"

namespace godwit::numa {
namespace {

// Virtual interfaces stand on each other at most this deep: a VLAN on a bond on two NICs is two.
constexpr int kLowerInterfacesDepthMax = 8;

// Software devices say what they stand on; RoCE says which interface each of its addresses is of;
// of InfiniBand only the card is known, and which interfaces that has.
std::string interface_of(const std::string& device_folder) {
  std::string name = read_line(device_folder + "/parent");
  if (!name.empty()) return name;
  for (const std::string& port : list_folder(device_folder + "/ports")) {
    name = read_line(fmt::format("{}/ports/{}/gid_attrs/ndevs/0", device_folder, port));
    if (!name.empty()) return name;
  }
  const std::vector<std::string> of_the_card = list_folder(device_folder + "/device/net");
  return of_the_card.size() == 1 ? of_the_card.front() : "";
}

// "ACTIVE" when any port is, otherwise the state of the first.
std::string port_state_of(const std::string& device_folder) {
  std::string first;
  for (const std::string& port : list_folder(device_folder + "/ports")) {
    std::string state = read_line(fmt::format("{}/ports/{}/state", device_folder, port));
    const size_t colon = state.find(": ");  // "4: ACTIVE"
    if (colon != std::string::npos) state.erase(0, colon + 2);
    if (state == "ACTIVE") return state;
    if (first.empty()) first = state;
  }
  return first;
}

Device& find_or_add_rdma_device(std::vector<Device>& devices, const std::string& name) {
  for (Device& device : devices)
    if (device.kind == Device::Kind::kRdma && device.name == name) return device;
  return devices.emplace_back(Device{.kind = Device::Kind::kRdma,
                                     .name = name,
                                     .node = kUnknownNode,
                                     .interface = "",
                                     .state = ""});
}

int search_node(const Topology& topology, const std::string& sysfs, const std::string& interface,
                int depth) {
  const Device* known = topology.find_device(Device::Kind::kNetwork, interface);
  if (known != nullptr) return known->node;
  if (depth == kLowerInterfacesDepthMax) return kUnknownNode;

  constexpr std::string_view kLower = "lower_";
  int node = kUnknownNode;
  for (const std::string& entry : list_folder(fmt::format("{}/class/net/{}", sysfs, interface))) {
    if (!entry.starts_with(kLower)) continue;
    const int below = search_node(topology, sysfs, entry.substr(kLower.size()), depth + 1);
    if (below == kUnknownNode || (node != kUnknownNode && node != below)) return kUnknownNode;
    node = below;
  }
  return node;
}

}  // namespace

void add_device_links(Topology& topology, const std::string& sysfs) {
  const std::string folder = sysfs + "/class/infiniband/";
  for (const std::string& name : list_folder(folder)) {
    Device& device = find_or_add_rdma_device(topology.devices, name);
    device.interface = interface_of(folder + name);
    device.state = port_state_of(folder + name);
    if (device.node == kUnknownNode)
      device.node = node_of_interface(topology, sysfs, device.interface);
  }
  for (Device& device : topology.devices)
    if (device.kind == Device::Kind::kNetwork)
      device.state = read_line(fmt::format("{}/class/net/{}/operstate", sysfs, device.name));
  sort_devices(topology.devices);
}

int node_of_interface(const Topology& topology, const std::string& sysfs,
                      const std::string& interface) {
  // Where there is only one node, everything is on it.
  if (topology.nodes.size() == 1) return topology.nodes.front().number;
  if (interface.empty()) return kUnknownNode;
  return search_node(topology, sysfs, interface, 0);
}

}  // namespace godwit::numa
