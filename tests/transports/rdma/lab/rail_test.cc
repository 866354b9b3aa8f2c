// SPDX-License-Identifier: Apache-2.0
//
// Rails of the lab's machine: rxe0 and rxe1, whose GID 1 is their IPv4 address.
#include <gtest/gtest.h>

#include "tests/transports/rdma/lab/lanes.h"
#include "transports/rdma/rail_list.h"
#include "transports/rdma/rdma_device.h"
#include "transports/rdma/rdma_features.h"

namespace godwit::lab {
namespace {

TEST(Rails, AllOfThisHostAreListedWithTheirAddress) {
  const std::vector<RdmaRail> rails = list_rails();

  ASSERT_EQ(rails.size(), 2U);
  EXPECT_EQ(rails[1].name, "rxe1:1/1");
  EXPECT_EQ(rails[1].device, "rxe1");
  EXPECT_EQ(rails[1].port, 1);
  EXPECT_EQ(rails[1].state, "active");
  EXPECT_TRUE(rails[1].usable);
  EXPECT_EQ(rails[1].gid, "::ffff:10.77.1.1");
  EXPECT_EQ(rails[1].host, "10.77.1.1");
  EXPECT_EQ(rails[1].netdev, "data1");
}

TEST(Rails, OneThatIsDownIsListedAsSuchAndCanNotBeOpened) {
  run("/usr/sbin/ip link set data1 down");
  const std::vector<RdmaRail> rails = list_rails();
  const auto device = RdmaDevice::open({.device = "rxe1"});
  run("/usr/sbin/ip link set data1 up");

  ASSERT_EQ(rails.size(), 2U);
  EXPECT_EQ(rails[1].state, "down");
  EXPECT_FALSE(rails[1].usable);
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, Errc::kRefused);
}

TEST(Rails, ANameChoosesDevicePortAndAddress) {
  EXPECT_EQ(RdmaDevice::open({.device = ""}).value()->host(), "10.77.0.1");
  EXPECT_EQ(RdmaDevice::open({.device = "rxe1"}).value()->host(), "10.77.1.1");
  EXPECT_EQ(RdmaDevice::open({.device = "rxe1:1/1"}).value()->host(), "10.77.1.1");
  const std::string link_local = RdmaDevice::open({.device = "rxe1/0"}).value()->host();
  EXPECT_TRUE(link_local.starts_with("[fe80::") && link_local.ends_with("%data1]")) << link_local;
}

TEST(Rails, WhatIsNotThereIsRefused) {
  for (const char* name : {"rxe1:2", "rxe1/200", "rxe7", "rxe1:x"}) {
    const auto device = RdmaDevice::open({.device = name});
    ASSERT_FALSE(device) << name;
    EXPECT_EQ(device.error().code, Errc::kRefused) << name;
  }
}

TEST(Rails, ALaneWorksOnEachAddress) {
  run("/usr/sbin/ip address add 10.77.9.1/24 dev data1");
  const Deadline deadline = deadline_in(kTestTime);
  while (!RdmaDevice::open({.device = "rxe1/2"}) && Clock::now() < deadline)
    std::this_thread::yield();
  EXPECT_EQ(RdmaDevice::open({.device = "rxe1/2"}).value()->host(), "10.77.9.1");

  for (const char* name : {"rxe0", "rxe1", "rxe1:1/1", "rxe1/2"}) {
    Lane lane({.device = name});
    EXPECT_TRUE(lane.ends.source->flush(deadline_in(kTestTime))) << name;
  }
  run("/usr/sbin/ip address del 10.77.9.1/24 dev data1");
}

TEST(Rails, EveryAddressOfANameIsTried) {
  auto destination = RdmaTransport::open({.device = "rxe1"}).value();
  auto source = RdmaTransport::open({.device = "rxe1"}).value();
  run("echo '10.77.1.77 two.lab\n10.77.1.1 two.lab' >> /etc/hosts");

  // 10.77.1.77 is not of this host, and cannot be listened on.
  auto listener = destination->listen("two.lab:0");
  ASSERT_TRUE(listener) << to_string(listener.error());
  const std::string address = (*listener)->address();
  const std::string port = address.substr(address.rfind(':'));
  std::jthread accepting(
      [&] { (void)test::accept_lane(**listener, test::make_ticket(0), deadline_in(kTestTime)); });
  const auto connected =
      source->connect("two.lab" + port, test::make_ticket(0), deadline_in(kTestTime));

  EXPECT_TRUE(connected) << to_string(connected.error());
}

TEST(Features, AreToldOfEveryDevice) {
  const std::vector<RdmaFeatures> devices = list_rdma_features();

  ASSERT_EQ(devices.size(), 2U);
  EXPECT_EQ(devices[1].device, "rxe1");
  EXPECT_FALSE(devices[1].dma_buf);  // Soft-RoCE has none of it, and is no PCI device
  EXPECT_EQ(devices[1].relaxed_ordering, std::nullopt);
  EXPECT_GE(devices[1].region_bytes_max, uint64_t{1} << 40);
  EXPECT_GE(devices[1].requests_max, kRdmaRequestsMax);
  EXPECT_GE(devices[1].reads_in_flight_max, kRdmaReadsInFlightMax);
}

}  // namespace
}  // namespace godwit::lab
