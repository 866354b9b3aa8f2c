// SPDX-License-Identifier: Apache-2.0
#include "cli/placement_preview.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace godwit::cli {
namespace {

using numa::Device;
using numa::Topology;

Topology two_nodes(std::vector<Device> devices) {
  Topology topology;
  topology.nodes = {{0, 1ULL << 30, {{0}, {1}}}, {1, 2ULL << 30, {{2}, {3}}}};
  topology.devices = std::move(devices);
  return topology;
}

std::vector<std::string> names(const PlacementPreview& preview) {
  std::vector<std::string> names;
  for (const PlacementPreview::Rail& rail : preview.rails) names.push_back(rail.device);
  return names;
}

using Names = std::vector<std::string>;

TEST(PlacementPreview, RdmaDevicesThatAreUpAreTheRails) {
  const Topology topology = two_nodes({{Device::Kind::kRdma, "mlx5_0", 0, "eth0", "DOWN"},
                                       {Device::Kind::kRdma, "mlx5_1", 1, "eth1", "ACTIVE"},
                                       {Device::Kind::kNetwork, "eth0", 0, "", "up"}});

  const PlacementPreview preview = preview_placement(topology);

  EXPECT_EQ(names(preview), Names{"mlx5_1"});
  EXPECT_EQ(preview.choices[0].rails, Names{"mlx5_1"});
  EXPECT_EQ(preview.choices[0].reason, "mlx5_1: on node 1, at distance 20");
}

TEST(PlacementPreview, InterfacesAreTheRailsWhereNoRdmaDeviceIsUp) {
  const Topology topology = two_nodes({{Device::Kind::kRdma, "mlx5_0", 0, "eth0", "DOWN"},
                                       {Device::Kind::kNetwork, "eth0", 0, "", "up"},
                                       {Device::Kind::kNetwork, "eth1", 1, "", "down"},
                                       {Device::Kind::kNetwork, "eth2", 1, "", "unknown"}});

  EXPECT_EQ(names(preview_placement(topology)), (Names{"eth0", "eth2"}));
}

TEST(PlacementPreview, RailsThatAreEquallyNearShareTheirPages) {
  const Topology topology = two_nodes({{Device::Kind::kRdma, "mlx5_0", 1, "", "ACTIVE"},
                                       {Device::Kind::kRdma, "mlx5_1", 0, "", "ACTIVE"},
                                       {Device::Kind::kRdma, "mlx5_2", 1, "", "ACTIVE"}});

  const PlacementPreview preview = preview_placement(topology);

  EXPECT_EQ(preview.choices[1].rails, (Names{"mlx5_0", "mlx5_2"}));
  EXPECT_EQ(preview.rails[2].lane.cpus, numa::CpuList{3});
}

TEST(PlacementPreview, SaysWhenThereIsNoRail) {
  const Topology topology = two_nodes({});

  const PlacementPreview preview = preview_placement(topology);

  EXPECT_TRUE(preview.choices[0].rails.empty());
  EXPECT_NE(
      render_placement_text(topology, preview, {}).find("pages have no rail: no device is up"),
      std::string::npos);
}

TEST(PlacementPreview, UnknownThingsAreNullInJson) {
  const Topology topology =
      two_nodes({{Device::Kind::kRdma, "rxe0", numa::kUnknownNode, "", "ACTIVE"},
                 {Device::Kind::kNetwork, "eth0", 0, "", ""}});

  const nlohmann::ordered_json json = placement_json(topology, preview_placement(topology), {});

  EXPECT_TRUE(json["devices"][0]["node"].is_null());
  EXPECT_TRUE(json["devices"][0]["interface"].is_null());
  EXPECT_TRUE(json["devices"][0]["lane"]["cpus"].empty());
  EXPECT_TRUE(json["devices"][1]["state"].is_null());
  EXPECT_TRUE(json["devices"][1]["lane"].is_null());
  EXPECT_TRUE(json["devices"][0]["features"].is_null());
}

TEST(PlacementPreview, SaysWhatADeviceCanDo) {
  const Topology topology = two_nodes({{Device::Kind::kRdma, "mlx5_0", 0, "", "ACTIVE"},
                                       {Device::Kind::kRdma, "mlx5_1", 1, "", "DOWN"}});
  const std::vector<RdmaFeatures> features{{.device = "mlx5_1",
                                            .on_demand_paging = true,
                                            .dma_buf = false,
                                            .relaxed_ordering = std::nullopt,
                                            .region_bytes_max = 1ULL << 40,
                                            .requests_max = 32768,
                                            .reads_in_flight_max = 16}};
  const PlacementPreview preview = preview_placement(topology);

  const nlohmann::ordered_json json = placement_json(topology, preview, features);
  const std::string text = render_placement_text(topology, preview, features);

  EXPECT_TRUE(json["devices"][0]["features"].is_null());
  EXPECT_EQ(json["devices"][1]["features"]["on_demand_paging"], true);
  EXPECT_EQ(json["devices"][1]["features"]["dma_buf"], false);
  EXPECT_TRUE(json["devices"][1]["features"]["relaxed_ordering"].is_null());
  EXPECT_EQ(json["devices"][1]["features"]["requests_max"], 32768);
  EXPECT_NE(text.find("on-demand paging: yes, dma-buf: no, relaxed ordering: not known; 32768 "
                      "requests in a queue, 16 reads at a time"),
            std::string::npos)
      << text;
}

}  // namespace
}  // namespace godwit::cli
