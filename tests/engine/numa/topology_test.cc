// SPDX-License-Identifier: Apache-2.0
#include "engine/numa/topology.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "engine/base/check.h"

namespace godwit::numa {
namespace {

Topology recorded(const std::string& name) {
  Result<Topology> topology =
      Topology::from_xml_file(std::string(GODWIT_RECORDED_TOPOLOGIES) + "/" + name);
  CHECK(topology.has_value());
  return std::move(*topology);
}

int node_of(const Topology& topology, Device::Kind kind, const char* name) {
  const Device* device = topology.find_device(kind, name);
  CHECK(device != nullptr);
  return device->node;
}

int rdma_node(const Topology& topology, const char* name) {
  return node_of(topology, Device::Kind::kRdma, name);
}

int network_node(const Topology& topology, const char* name) {
  return node_of(topology, Device::Kind::kNetwork, name);
}

TEST(Topology, TellsCpusAndCoresOfEachNode) {
  Result<Topology> topology = Topology::from_synthetic("pack:2 [numa] core:2 pu:2");
  ASSERT_TRUE(topology);

  ASSERT_EQ(topology->nodes.size(), 2U);
  EXPECT_EQ(topology->nodes[1].number, 1);
  EXPECT_EQ(topology->nodes[1].cores, (std::vector<CpuList>{{4, 5}, {6, 7}}));
  EXPECT_EQ(topology->nodes[0].cpus(), (CpuList{0, 1, 2, 3}));
}

TEST(Topology, TellsMemoryOfEachNode) {
  Topology topology = recorded("four_nodes_two_packages.xml");

  ASSERT_EQ(topology.nodes.size(), 4U);
  EXPECT_EQ(topology.nodes[3].memory_bytes, 16ULL << 30);
}

TEST(OnlyNode, IsToldWhereThereAreNoOthers) {
  std::string sysfs = testing::TempDir() + "sysfs-XXXXXX";
  CHECK(::mkdtemp(sysfs.data()) != nullptr);
  EXPECT_EQ(only_node(sysfs), 0);
  const std::string folder = sysfs + "/devices/system/node";
  std::filesystem::create_directories(folder);

  for (const auto& [online, expected] : std::vector<std::pair<std::string, std::optional<int>>>{
           {"0", 0}, {"3", 3}, {"0-1", std::nullopt}, {"0,2", std::nullopt}}) {
    std::ofstream(folder + "/online") << online << "\n";
    EXPECT_EQ(only_node(sysfs), expected) << online;
  }
  std::filesystem::remove_all(sysfs);
}

TEST(Topology, GuessesDistancesThatAreNotTold) {
  Result<Topology> topology = Topology::from_synthetic("pack:8 [numa] core:1 pu:1");
  ASSERT_TRUE(topology);

  ASSERT_EQ(topology->nodes.size(), 8U);
  EXPECT_EQ(topology->distances.between(7, 7), 10U);
  EXPECT_EQ(topology->distances.between(0, 7), 20U);
}

TEST(Topology, ReadsDistancesThatAreTold) {
  Topology four = recorded("four_nodes_two_packages.xml");
  EXPECT_EQ(four.distances.between(0, 1), 12U);
  EXPECT_EQ(four.distances.between(3, 0), 32U);

  Topology eight = recorded("eight_nodes_ring.xml");
  EXPECT_EQ(eight.distances.between(0, 7), 16U);
  EXPECT_EQ(eight.distances.between(0, 4), 46U);
}

TEST(Topology, PutsDevicesOnTheirNodes) {
  Topology two = recorded("two_nodes_lab.xml");
  EXPECT_EQ(network_node(two, "data0"), 0);
  EXPECT_EQ(network_node(two, "data1"), 1);

  Topology four = recorded("four_nodes_two_packages.xml");
  EXPECT_EQ(rdma_node(four, "mlx5_0"), 0);
  EXPECT_EQ(rdma_node(four, "mlx5_1"), 3);
  EXPECT_EQ(network_node(four, "eth1"), 3);

  Topology eight = recorded("eight_nodes_ring.xml");
  EXPECT_EQ(rdma_node(eight, "mlx5_6"), 6);
}

TEST(Topology, DeviceThatIsNearSeveralNodesHasNone) {
  Topology four = recorded("four_nodes_two_packages.xml");

  EXPECT_EQ(rdma_node(four, "mlx5_2"), kUnknownNode);
  EXPECT_EQ(network_node(four, "eth3"), kUnknownNode);
}

TEST(Topology, DeviceOfTheOnlyNodeIsOnIt) {
  Topology one = recorded("one_node.xml");

  EXPECT_EQ(one.nodes.size(), 1U);
  EXPECT_EQ(network_node(one, "eth0"), 0);
}

TEST(Topology, ListsRdmaDevicesFirst) {
  Topology eight = recorded("eight_nodes_ring.xml");

  std::vector<std::string> names;
  for (const Device& device : eight.devices) names.push_back(device.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"mlx5_1", "mlx5_4", "mlx5_6", "eth1", "eth4", "eth6"}));
}

TEST(Topology, RefusesWhatIsNoTopology) {
  EXPECT_EQ(Topology::from_xml("<topology").error().code, Errc::kCorrupt);
  EXPECT_EQ(Topology::from_xml_file("/nonexistent").error().code, Errc::kCorrupt);
  EXPECT_EQ(Topology::from_synthetic("pack:two").error().code, Errc::kCorrupt);
}

TEST(Topology, FindsNothingThatIsNotThere) {
  Topology one = recorded("one_node.xml");

  EXPECT_EQ(one.find_node(1), nullptr);
  EXPECT_EQ(one.find_device(Device::Kind::kRdma, "eth0"), nullptr);
}

TEST(CpuList, IsWrittenInRanges) {
  EXPECT_EQ(to_string(CpuList{}), "none");
  EXPECT_EQ(to_string(CpuList{3}), "3");
  EXPECT_EQ(to_string(CpuList{0, 1, 2, 3, 8, 10, 11}), "0-3,8,10-11");
}

TEST(NodeDistances, UnknownNodeIsNeitherNearNorFar) {
  NodeDistances distances({0, 2}, {10, 40, 30, 10});

  EXPECT_EQ(distances.between(0, kUnknownNode), 25U);
  EXPECT_EQ(distances.between(kUnknownNode, 2), 20U);
  EXPECT_EQ(distances.between(kUnknownNode, kUnknownNode), 15U);
}

TEST(NodeDistances, KeepsTheDirectionThatIsTold) {
  NodeDistances distances({0, 2}, {10, 40, 30, 10});

  EXPECT_EQ(distances.between(0, 2), 40U);
  EXPECT_EQ(distances.between(2, 0), 30U);
  EXPECT_EQ(distances.between(0, 1), 20U);
}

}  // namespace
}  // namespace godwit::numa
