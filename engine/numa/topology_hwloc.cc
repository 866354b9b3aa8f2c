// SPDX-License-Identifier: Apache-2.0
//
// The NUMA map of topology.h out of hwloc's.
//
// Nodes that a control group keeps from us are on the map all the same: a guest may have memory on
// them. CPUs that we may not run on are not.
#include <hwloc.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <utility>

#include "engine/numa/device_links.h"
#include "engine/numa/topology.h"

namespace godwit::numa {
namespace {

struct TopologyDestroyer {
  void operator()(hwloc_topology_t topology) const { ::hwloc_topology_destroy(topology); }
};
using HwlocTopology = std::unique_ptr<hwloc_topology, TopologyDestroyer>;

// Returns a topology that waits to be told its source, and loaded.
Result<HwlocTopology> prepare() {
  hwloc_topology_t topology = nullptr;
  if (::hwloc_topology_init(&topology) != 0) return fail_errno(errno, "prepare a NUMA map");
  HwlocTopology owner(topology);
  ::hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
  // Devices are left out by default. "Important" keeps those that do I/O.
  ::hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
  return owner;
}

std::vector<CpuList> cores_of(hwloc_topology_t topology, hwloc_obj_t node) {
  std::vector<CpuList> cores;
  std::map<hwloc_obj_t, size_t> positions;  // of a core in `cores`
  const hwloc_const_cpuset_t allowed = ::hwloc_topology_get_allowed_cpuset(topology);
  for (hwloc_obj_t unit = nullptr; (unit = ::hwloc_get_next_obj_inside_cpuset_by_type(
                                        topology, node->cpuset, HWLOC_OBJ_PU, unit)) != nullptr;) {
    if (::hwloc_bitmap_isset(allowed, unit->os_index) == 0) continue;
    hwloc_obj_t core = ::hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, unit);
    // A virtual machine may not tell its cores; each CPU counts as one then.
    const auto [position, inserted] =
        positions.try_emplace(core != nullptr ? core : unit, cores.size());
    if (inserted) cores.emplace_back();
    cores[position->second].push_back(static_cast<int>(unit->os_index));
  }
  return cores;
}

std::vector<NumaNode> nodes_of(hwloc_topology_t topology) {
  std::vector<NumaNode> nodes;
  for (hwloc_obj_t node = nullptr;
       (node = ::hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != nullptr;) {
    nodes.push_back({.number = static_cast<int>(node->os_index),
                     .memory_bytes = node->attr->numanode.local_memory,
                     .cores = cores_of(topology, node)});
  }
  std::sort(nodes.begin(), nodes.end(),
            [](const NumaNode& one, const NumaNode& other) { return one.number < other.number; });
  return nodes;
}

NodeDistances distances_of(hwloc_topology_t topology) {
  unsigned matrix_count = 1;
  hwloc_distances_s* matrix = nullptr;
  if (::hwloc_distances_get_by_type(topology, HWLOC_OBJ_NUMANODE, &matrix_count, &matrix,
                                    HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) != 0 ||
      matrix_count == 0) {
    return {};
  }
  std::vector<int> nodes(matrix->nbobjs);
  std::vector<uint32_t> values(size_t{matrix->nbobjs} * matrix->nbobjs);
  for (size_t i = 0; i < nodes.size(); i++) nodes[i] = static_cast<int>(matrix->objs[i]->os_index);
  for (size_t i = 0; i < values.size(); i++) values[i] = static_cast<uint32_t>(matrix->values[i]);
  ::hwloc_distances_release(topology, matrix);
  return {std::move(nodes), std::move(values)};
}

// The node of a device: the one that its place in the machine belongs to, if it is only one.
int node_of(hwloc_topology_t topology, hwloc_obj_t device) {
  hwloc_obj_t place = ::hwloc_get_non_io_ancestor_obj(topology, device);
  if (place == nullptr || place->nodeset == nullptr) return kUnknownNode;
  if (::hwloc_bitmap_weight(place->nodeset) != 1) return kUnknownNode;
  return ::hwloc_bitmap_first(place->nodeset);
}

std::vector<Device> devices_of(hwloc_topology_t topology) {
  std::vector<Device> devices;
  for (hwloc_obj_t device = nullptr;
       (device = ::hwloc_get_next_osdev(topology, device)) != nullptr;) {
    const hwloc_obj_osdev_type_t type = device->attr->osdev.type;
    if (type != HWLOC_OBJ_OSDEV_OPENFABRICS && type != HWLOC_OBJ_OSDEV_NETWORK) continue;
    if (device->name == nullptr) continue;
    devices.push_back(
        {.kind = type == HWLOC_OBJ_OSDEV_OPENFABRICS ? Device::Kind::kRdma : Device::Kind::kNetwork,
         .name = device->name,
         .node = node_of(topology, device),
         .interface = "",
         .state = ""});
  }
  sort_devices(devices);
  return devices;
}

Topology describe(hwloc_topology_t topology) {
  return {.nodes = nodes_of(topology),
          .distances = distances_of(topology),
          .devices = devices_of(topology)};
}

}  // namespace

Result<Topology> Topology::of_this_host() {
  ASSIGN_OR_RETURN(HwlocTopology topology, prepare());
  if (::hwloc_topology_load(topology.get()) != 0)
    return fail_errno(errno, "read this host's NUMA map");
  Topology host = describe(topology.get());
  // hwloc can be told by its environment to describe another machine than this.
  if (::hwloc_topology_is_thissystem(topology.get()) != 0) add_device_links(host, "/sys");
  return host;
}

Result<Topology> Topology::from_xml(const std::string& text) {
  ASSIGN_OR_RETURN(HwlocTopology topology, prepare());
  // The size includes the terminating zero byte.
  if (::hwloc_topology_set_xmlbuffer(topology.get(), text.c_str(),
                                     static_cast<int>(text.size() + 1)) != 0 ||
      ::hwloc_topology_load(topology.get()) != 0) {
    return fail(Errc::kCorrupt, "a recorded NUMA map is not one of hwloc's");
  }
  return describe(topology.get());
}

Result<Topology> Topology::from_xml_file(const std::string& path) {
  ASSIGN_OR_RETURN(HwlocTopology topology, prepare());
  if (::hwloc_topology_set_xml(topology.get(), path.c_str()) != 0 ||
      ::hwloc_topology_load(topology.get()) != 0) {
    return fail(Errc::kCorrupt, "'{}' is not a NUMA map of hwloc's", path);
  }
  return describe(topology.get());
}

Result<Topology> Topology::from_synthetic(const std::string& description) {
  ASSIGN_OR_RETURN(HwlocTopology topology, prepare());
  if (::hwloc_topology_set_synthetic(topology.get(), description.c_str()) != 0 ||
      ::hwloc_topology_load(topology.get()) != 0) {
    return fail(Errc::kCorrupt, "'{}' does not describe a machine", description);
  }
  return describe(topology.get());
}

}  // namespace godwit::numa
