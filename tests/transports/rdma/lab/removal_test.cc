// SPDX-License-Identifier: Apache-2.0
//
// The device itself goes.
#include <gtest/gtest.h>

#include "tests/transports/rdma/lab/lanes.h"

namespace godwit::lab {
namespace {

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
  EXPECT_LT(source.after, kSoon);
  EXPECT_LT(Clock::now() - dying, seconds(3));
}

}  // namespace
}  // namespace godwit::lab
