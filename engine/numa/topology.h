// SPDX-License-Identifier: Apache-2.0
//
// The machine as far as moving memory is concerned: its NUMA nodes with their memory and cores, how
// far they are from each other, and on which of them the devices are that pages leave by. Plain
// data, so that placement (rail_placement.h) is tested with literals; only topology_hwloc.cc knows
// where it comes from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/numa/cpu_list.h"
#include "engine/numa/node_distances.h"

namespace godwit::numa {

struct NumaNode {
  int number;             // the operating system's
  uint64_t memory_bytes;  // 0 where that is not told
  // The CPUs of each core that this process may run on. None on a node that is memory only.
  std::vector<CpuList> cores;

  CpuList cpus() const;
};

struct Device {
  enum class Kind : uint8_t { kRdma = 1, kNetwork = 2 };

  Kind kind;
  std::string name;       // mlx5_0, rxe0; eth0
  int node;               // kUnknownNode where the machine does not tell, or names several
  std::string interface;  // of an RDMA device: the network interface it stands on, "" if none
  // Of an RDMA device its port's, "ACTIVE" or "DOWN"; of an interface "up", "down" or "unknown"; ""
  // where it is not told.
  std::string state;
};

struct Topology {
  std::vector<NumaNode> nodes;  // by rising number
  NodeDistances distances;
  std::vector<Device> devices;  // RDMA devices first, each kind by name

  // Returns the machine that this runs on, with what device_links.h adds.
  static Result<Topology> of_this_host();

  // Return a machine that was recorded (`lstopo --of xml`). Errors: kCorrupt.
  static Result<Topology> from_xml(const std::string& text);
  static Result<Topology> from_xml_file(const std::string& path);

  // Returns a machine described in hwloc's words, "pack:2 [numa] core:4 pu:2". It has no devices
  // and default distances. Errors: kCorrupt.
  static Result<Topology> from_synthetic(const std::string& description);

  // Return nullptr where there is none.
  const NumaNode* find_node(int number) const;
  const Device* find_device(Device::Kind kind, std::string_view name) const;
};

// The number of this host's NUMA node when it has only one. Far cheaper than the map.
std::optional<int> only_node(const std::string& sysfs = "/sys");

void sort_devices(std::vector<Device>& devices);

}  // namespace godwit::numa
