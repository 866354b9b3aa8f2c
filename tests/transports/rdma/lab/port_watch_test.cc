// SPDX-License-Identifier: Apache-2.0
//
// What the watch says of a port that goes down and comes back.
#include "transports/rdma/port_watch.h"

#include <gtest/gtest.h>

#include "tests/transports/rdma/lab/lanes.h"
#include "transports/rdma/rdma_device.h"

namespace godwit::lab {
namespace {

class Watch : public testing::Test {
 protected:
  ~Watch() override { run("/usr/sbin/ip link set data1 up"); }

  static bool comes(const PortWatch& watch, bool loss) {
    const Deadline deadline = deadline_in(kTestTime);
    while ((watch.loss() != nullptr) != loss && Clock::now() < deadline) std::this_thread::yield();
    return (watch.loss() != nullptr) == loss;
  }
};

TEST_F(Watch, TellsALossAndItsEnd) {
  const auto device = RdmaDevice::open({.device = "rxe1"}).value();
  const PortWatch& watch = device->port_watch();
  ASSERT_EQ(watch.loss(), nullptr);

  take_down("data1");
  EXPECT_TRUE(comes(watch, true));

  run("/usr/sbin/ip link set data1 up");
  EXPECT_TRUE(comes(watch, false));
}

TEST_F(Watch, OfAnotherPortTellsNothing) {
  const auto other = RdmaDevice::open({.device = "rxe0"}).value();
  const auto device = RdmaDevice::open({.device = "rxe1"}).value();

  take_down("data1");

  EXPECT_TRUE(comes(device->port_watch(), true));
  EXPECT_EQ(other->port_watch().loss(), nullptr);
}

TEST_F(Watch, BearsAPortThatIsDownForLessThanAllowed) {
  const auto quick = RdmaDevice::open({.device = "rxe1"}).value();
  const auto patient = RdmaDevice::open({.device = "rxe1", .port_down_max = seconds(20)}).value();

  take_down("data1");
  EXPECT_TRUE(comes(quick->port_watch(), true));
  run("/usr/sbin/ip link set data1 up");
  EXPECT_TRUE(comes(quick->port_watch(), false));

  EXPECT_EQ(patient->port_watch().loss(), nullptr);
}

}  // namespace
}  // namespace godwit::lab
