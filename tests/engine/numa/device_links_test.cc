// SPDX-License-Identifier: Apache-2.0
#include "engine/numa/device_links.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "engine/base/check.h"

namespace godwit::numa {
namespace {

// Two nodes with a NIC each, and a folder that is laid out like /sys.
class DeviceLinksTest : public testing::Test {
 protected:
  DeviceLinksTest() {
    topology_.nodes = {{0, 0, {{0}}}, {1, 0, {{1}}}};
    topology_.devices = {{Device::Kind::kRdma, "mlx5_0", 1, "", ""},
                         {Device::Kind::kNetwork, "eth0", 0, "", ""},
                         {Device::Kind::kNetwork, "eth1", 1, "", ""}};
    std::string pattern = testing::TempDir() + "sysfs-XXXXXX";
    CHECK(::mkdtemp(pattern.data()) != nullptr);
    sysfs_ = pattern;
  }
  ~DeviceLinksTest() override { std::filesystem::remove_all(sysfs_); }
  DeviceLinksTest(const DeviceLinksTest&) = delete;
  DeviceLinksTest& operator=(const DeviceLinksTest&) = delete;

  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = sysfs_ + "/class/" + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }

  const Device& rdma_device(const char* name) {
    add_device_links(topology_, sysfs_);
    const Device* device = topology_.find_device(Device::Kind::kRdma, name);
    CHECK(device != nullptr);
    return *device;
  }

  Topology topology_;
  std::string sysfs_;
};

TEST_F(DeviceLinksTest, SoftRoceIsWhereItsInterfaceIs) {
  write("infiniband/rxe0/parent", "eth0");
  write("infiniband/rxe1/parent", "eth1");

  EXPECT_EQ(rdma_device("rxe0").node, 0);
  EXPECT_EQ(rdma_device("rxe1").node, 1);
  EXPECT_EQ(rdma_device("rxe1").interface, "eth1");
}

TEST_F(DeviceLinksTest, DeviceWithAPlaceKeepsIt) {
  write("infiniband/mlx5_0/ports/1/gid_attrs/ndevs/0", "eth0");

  EXPECT_EQ(rdma_device("mlx5_0").node, 1);
  EXPECT_EQ(rdma_device("mlx5_0").interface, "eth0");
}

TEST_F(DeviceLinksTest, InterfaceOfACardIsToldOnlyWhenItHasOne) {
  write("infiniband/mlx5_0/device/net/ib0/address", "");
  EXPECT_EQ(rdma_device("mlx5_0").interface, "ib0");

  write("infiniband/mlx5_0/device/net/ib1/address", "");
  EXPECT_EQ(rdma_device("mlx5_0").interface, "");
}

TEST_F(DeviceLinksTest, AnyPortThatIsUpCounts) {
  write("infiniband/mlx5_0/ports/1/state", "1: DOWN");
  EXPECT_EQ(rdma_device("mlx5_0").state, "DOWN");

  write("infiniband/mlx5_0/ports/2/state", "4: ACTIVE");
  EXPECT_EQ(rdma_device("mlx5_0").state, "ACTIVE");
}

TEST_F(DeviceLinksTest, SaysWhetherAnInterfaceIsUp) {
  write("net/eth1/operstate", "up");

  add_device_links(topology_, sysfs_);

  EXPECT_EQ(topology_.find_device(Device::Kind::kNetwork, "eth1")->state, "up");
  EXPECT_EQ(topology_.find_device(Device::Kind::kNetwork, "eth0")->state, "");
}

TEST_F(DeviceLinksTest, VirtualInterfaceIsWhereAllBelowItAre) {
  write("net/vlan7/lower_eth1/address", "");
  write("net/bond0/lower_eth0/address", "");
  write("net/bond0/lower_eth1/address", "");

  EXPECT_EQ(node_of_interface(topology_, sysfs_, "vlan7"), 1);
  EXPECT_EQ(node_of_interface(topology_, sysfs_, "bond0"), kUnknownNode);
  EXPECT_EQ(node_of_interface(topology_, sysfs_, "dummy0"), kUnknownNode);
}

TEST_F(DeviceLinksTest, InterfacesThatStandOnEachOtherAreGivenUp) {
  write("net/one/lower_other/address", "");
  write("net/other/lower_one/address", "");

  EXPECT_EQ(node_of_interface(topology_, sysfs_, "one"), kUnknownNode);
}

TEST_F(DeviceLinksTest, EverythingIsOnTheOnlyNode) {
  topology_.nodes = {{3, 0, {{0}}}};
  write("infiniband/rxe0/parent", "dummy0");

  EXPECT_EQ(rdma_device("rxe0").node, 3);
}

TEST_F(DeviceLinksTest, MachineWithoutRdmaIsLeftAsItIs) {
  add_device_links(topology_, sysfs_);

  EXPECT_EQ(topology_.devices.size(), 3U);
  EXPECT_EQ(rdma_device("mlx5_0").interface, "");
}

}  // namespace
}  // namespace godwit::numa
