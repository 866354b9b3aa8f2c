// SPDX-License-Identifier: Apache-2.0
//
// This host's own port goes down under a lane. Its peer time-out is long: what ends it is the
// event.
//
// Each of these leaves Soft-RoCE unable to make another lane on that device (transports/rdma/
// README.md), so each has a process, and a device, of its own: each_alone.sh.
#include <gtest/gtest.h>

#include <future>

#include "tests/conformance/connected_pair.h"
#include "tests/transports/rdma/lab/lanes.h"

namespace godwit::lab {
namespace {

TEST(LanePortLoss, EndsAnIdleLaneAtOnce) {
  Lane lane({.device = "rxe1"});
  std::promise<void> waits;
  auto ended = std::async(std::launch::async, [&] {
    std::array<std::byte, 64> message;
    EXPECT_FALSE(lane.ends.destination->receive(message, deadline_in(milliseconds(50))));
    waits.set_value();
    const auto received = lane.ends.destination->receive(message, deadline_in(kTestTime));
    return std::pair(received.error(), Clock::now());
  });
  waits.get_future().wait();

  const auto down = Clock::now();
  take_down("data1");
  const auto [error, at] = ended.get();

  const LaneEnd end{error, at - down};
  std::cout << "idle, port down: " << to_string(end) << "\n";
  EXPECT_EQ(end.error.code, Errc::kPeerLost);
  EXPECT_NE(to_string(end).find("its port is down"), std::string::npos);
  EXPECT_LT(end.after, kSoon);
}

TEST(LanePortLoss, EndsABusyLaneAtOnce) {
  Lane lane({.device = "rxe1"});
  conformance::SharedMemory memory(64 << 10);
  auto local = lane.source->register_memory(memory.bytes(), RemoteAccess::kNone).value();
  auto remote = lane.destination->register_memory(memory.bytes(), RemoteAccess::kWrite).value();

  const auto down = Clock::now();
  take_down("data1");
  const LaneEnd end = end_of_busy(*lane.ends.source, *local, remote->describe(), down);

  std::cout << "busy, port down: " << to_string(end) << "\n";
  EXPECT_EQ(end.error.code, Errc::kPeerLost);
  EXPECT_NE(to_string(end).find("its port is down"), std::string::npos);
  EXPECT_LT(end.after, kSoon);
}

}  // namespace
}  // namespace godwit::lab
