// SPDX-License-Identifier: Apache-2.0
#include "cli/placement_preview.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/units.h"
#include "engine/base/check.h"

namespace godwit::cli {
namespace {

using Json = nlohmann::ordered_json;
using numa::Device;
using numa::NumaNode;
using numa::Topology;

std::vector<const Device*> rail_devices(const Topology& topology) {
  std::vector<const Device*> rdma;
  std::vector<const Device*> network;
  for (const Device& device : topology.devices) {
    switch (device.kind) {
      case Device::Kind::kRdma:
        if (device.state == "ACTIVE") rdma.push_back(&device);
        break;
      case Device::Kind::kNetwork:
        if (device.state != "down") network.push_back(&device);
        break;
    }
  }
  return rdma.empty() ? network : rdma;
}

PlacementPreview::Choice choose(const numa::RailHost& host, int node) {
  PlacementPreview::Choice choice;
  if (host.rails.empty()) {
    choice.reason = "no device is up";
    return choice;
  }
  const std::vector<numa::RankedRail> ranked = numa::rank_rails(host, node);
  for (const numa::RankedRail& rail : ranked) {
    if (rail.cost != ranked.front().cost) break;
    choice.rails.push_back(host.rails[rail.position].name);
    choice.reason += (choice.reason.empty() ? "" : "; ") + rail.reason;
  }
  return choice;
}

const PlacementPreview::Rail* find_rail(const PlacementPreview& preview, const Device& device) {
  for (const PlacementPreview::Rail& rail : preview.rails)
    if (rail.device == device.name) return &rail;
  return nullptr;
}

const RdmaFeatures* find_features(std::span<const RdmaFeatures> features, const Device& device) {
  if (device.kind != Device::Kind::kRdma) return nullptr;
  const auto found = std::ranges::find(features, device.name, &RdmaFeatures::device);
  return found == features.end() ? nullptr : &*found;
}

const char* to_string(Device::Kind kind) {
  switch (kind) {
    case Device::Kind::kRdma:
      return "rdma";
    case Device::Kind::kNetwork:
      return "network";
  }
  CHECK(false && "a Device::Kind outside its enumerators");
}

std::vector<uint32_t> distances_from(const Topology& topology, const NumaNode& node) {
  std::vector<uint32_t> distances;
  for (const NumaNode& other : topology.nodes)
    distances.push_back(topology.distances.between(node.number, other.number));
  return distances;
}

Json text_or_null(const std::string& text) {
  return text.empty() ? Json() : Json(text);
}

Json features_json(const RdmaFeatures& features) {
  const auto& relaxed = features.relaxed_ordering;
  return {{"on_demand_paging", features.on_demand_paging},
          {"dma_buf", features.dma_buf},
          {"relaxed_ordering", relaxed ? Json(*relaxed) : Json()},
          {"region_bytes_max", features.region_bytes_max},
          {"requests_max", features.requests_max},
          {"reads_in_flight_max", features.reads_in_flight_max}};
}

Json device_json(const Device& device, const PlacementPreview::Rail* rail,
                 const RdmaFeatures* features) {
  Json json = {{"name", device.name},
               {"kind", to_string(device.kind)},
               {"node", device.node == numa::kUnknownNode ? Json() : Json(device.node)},
               {"interface", text_or_null(device.interface)},
               {"state", text_or_null(device.state)},
               {"lane", Json()},
               {"features", Json()}};
  if (rail != nullptr) json["lane"] = {{"cpus", rail->lane.cpus}, {"reason", rail->lane.reason}};
  if (features != nullptr) json["features"] = features_json(*features);
  return json;
}

std::string describe(const Device& device) {
  std::string text = device.kind == Device::Kind::kRdma ? "RDMA" : "network";
  if (!device.interface.empty()) text += " over " + device.interface;
  if (!device.state.empty()) text += ", " + device.state;
  return text + (device.node == numa::kUnknownNode ? ", node not known"
                                                   : fmt::format(", node {}", device.node));
}

std::string describe(const RdmaFeatures& features) {
  const auto answer = [](std::optional<bool> value) {
    return !value ? "not known" : *value ? "yes" : "no";
  };
  return fmt::format(
      "on-demand paging: {}, dma-buf: {}, relaxed ordering: {}; {} requests in a queue, {} reads "
      "at "
      "a time",
      answer(features.on_demand_paging), answer(features.dma_buf),
      answer(features.relaxed_ordering), features.requests_max, features.reads_in_flight_max);
}

// Like the findings of host_probe.h, which these lines follow.
std::string line(const std::string& name, const std::string& text) {
  return fmt::format("{:<8}{:<15} {}\n", "", name, text);
}

}  // namespace

PlacementPreview preview_placement(const Topology& topology) {
  numa::RailHost host{{}, topology.distances};
  std::vector<int> nodes;
  for (const Device* device : rail_devices(topology)) {
    host.rails.push_back({device->name, device->node, std::nullopt});
    nodes.push_back(device->node);
  }

  PlacementPreview preview;
  std::vector<numa::LanePlacement> lanes = numa::place_lanes(topology, nodes);
  for (size_t i = 0; i < lanes.size(); i++)
    preview.rails.push_back({host.rails[i].name, std::move(lanes[i])});
  for (const NumaNode& node : topology.nodes) preview.choices.push_back(choose(host, node.number));
  return preview;
}

Json placement_json(const Topology& topology, const PlacementPreview& preview,
                    std::span<const RdmaFeatures> features) {
  Json nodes = Json::array();
  for (size_t i = 0; i < topology.nodes.size(); i++) {
    const NumaNode& node = topology.nodes[i];
    nodes.push_back({{"node", node.number},
                     {"memory_bytes", node.memory_bytes},
                     {"cpus", node.cpus()},
                     {"distances", distances_from(topology, node)},
                     {"rails", preview.choices[i].rails},
                     {"reason", preview.choices[i].reason}});
  }
  Json devices = Json::array();
  for (const Device& device : topology.devices)
    devices.push_back(
        device_json(device, find_rail(preview, device), find_features(features, device)));
  return {{"nodes", nodes}, {"devices", devices}};
}

std::string render_placement_text(const Topology& topology, const PlacementPreview& preview,
                                  std::span<const RdmaFeatures> features) {
  std::string text;
  for (size_t i = 0; i < topology.nodes.size(); i++) {
    const NumaNode& node = topology.nodes[i];
    const PlacementPreview::Choice& choice = preview.choices[i];
    text += line(
        fmt::format("node {}", node.number),
        fmt::format("{}, CPUs {}, distances {}", format_bytes(node.memory_bytes),
                    numa::to_string(node.cpus()), fmt::join(distances_from(topology, node), " ")));
    text +=
        line("", (choice.rails.empty() ? "pages have no rail: " : "pages take ") + choice.reason);
  }
  for (const Device& device : topology.devices) {
    text += line(device.name, describe(device));
    if (const RdmaFeatures* of_it = find_features(features, device); of_it != nullptr)
      text += line("", describe(*of_it));
    const PlacementPreview::Rail* rail = find_rail(preview, device);
    if (rail == nullptr) continue;
    text += line("", rail->lane.cpus.empty()
                         ? "lane " + rail->lane.reason
                         : fmt::format("lane on CPUs {}: {}", numa::to_string(rail->lane.cpus),
                                       rail->lane.reason));
  }
  return text;
}

}  // namespace godwit::cli
