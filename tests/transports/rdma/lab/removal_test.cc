// SPDX-License-Identifier: Apache-2.0
//
// The device itself goes, or the address that a lane is on.
#include <gtest/gtest.h>

#include "tests/transports/rdma/lab/lanes.h"

namespace godwit::lab {
namespace {

TEST(LaneAddressLoss, IsNothingToALaneThatIsUp) {
  Lane lane({.device = "rxe1"});

  run("/usr/sbin/ip address del 10.77.1.1/24 dev data1");
  const Status flushed = lane.ends.source->flush(deadline_in(kTestTime));
  run("/usr/sbin/ip address add 10.77.1.1/24 dev data1");

  EXPECT_TRUE(flushed) << to_string(flushed.error());
}

// This process holds rdma_cm's context of the device, and until it ends so does the device.
TEST(LaneDeviceLoss, EndsLanesAndNothingHangs) {
  auto lane = std::make_unique<Lane>(RdmaOptions{.device = "rxe1"});

  run("rdma link delete rxe1 >/dev/null 2>&1 &");
  const auto before = Clock::now();
  const LaneEnd source = end_of_idle(*lane->ends.source, before);
  const LaneEnd destination = end_of_idle(*lane->ends.destination, before);
  const auto dying = Clock::now();
  lane.reset();

  std::cout << "removal: " << to_string(source) << "\nremoval: " << to_string(destination)
            << "\ndestroyed in " << to_milliseconds(Clock::now() - dying) << " ms\n";
  EXPECT_EQ(source.error.code, Errc::kPeerLost);
  EXPECT_LT(source.after, seconds(1));
  EXPECT_LT(Clock::now() - dying, seconds(1));
}

}  // namespace
}  // namespace godwit::lab
