// SPDX-License-Identifier: Apache-2.0
#include "engine/numa/topology.h"

#include <algorithm>
#include <charconv>
#include <tuple>

#include "engine/base/system_files.h"

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

std::optional<int> only_node(const std::string& sysfs) {
  const std::string online = read_line(sysfs + "/devices/system/node/online");
  int node = 0;
  if (online.empty()) return node;  // a kernel that knows no nodes
  const auto [end, error] = std::from_chars(online.data(), online.data() + online.size(), node);
  // More than one number: "0-1", "0,2".
  if (error != std::errc() || end != online.data() + online.size()) return std::nullopt;
  return node;
}

void sort_devices(std::vector<Device>& devices) {
  std::sort(devices.begin(), devices.end(), [](const Device& one, const Device& other) {
    return std::tie(one.kind, one.name) < std::tie(other.kind, other.name);
  });
}

}  // namespace godwit::numa
