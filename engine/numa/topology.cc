// SPDX-License-Identifier: Apache-2.0
#include "engine/numa/topology.h"

#include <algorithm>
#include <tuple>

namespace godwit::numa {

CpuList NumaNode::cpus() const {
  CpuList all;
  for (const CpuList& core : cores) all.insert(all.end(), core.begin(), core.end());
  std::sort(all.begin(), all.end());
  return all;
}

const NumaNode* Topology::find_node(int number) const {
  const auto found = std::find_if(nodes.begin(), nodes.end(),
                                  [&](const NumaNode& node) { return node.number == number; });
  return found == nodes.end() ? nullptr : &*found;
}

const Device* Topology::find_device(Device::Kind kind, std::string_view name) const {
  const auto found = std::find_if(devices.begin(), devices.end(), [&](const Device& device) {
    return device.kind == kind && device.name == name;
  });
  return found == devices.end() ? nullptr : &*found;
}

void sort_devices(std::vector<Device>& devices) {
  std::sort(devices.begin(), devices.end(), [](const Device& one, const Device& other) {
    return std::tie(one.kind, one.name) < std::tie(other.kind, other.name);
  });
}

}  // namespace godwit::numa
