// SPDX-License-Identifier: Apache-2.0
//
// A lane between two machines, whose other end falls silent. Runs on a; with `--serve` on b, as the
// passive end of one lane.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>

#include "tests/conformance/connected_pair.h"
#include "tests/transports/rdma/lab/lanes.h"

namespace godwit::lab {
namespace {

constexpr seconds kPeerTimeout{1};
constexpr const char* kAddress = "10.77.1.2:7471";
constexpr size_t kMemoryBytes = 64 << 10;
std::string program;

RdmaOptions options() {
  return {.device = "rxe1", .peer_timeout = kPeerTimeout};
}

int serve() {
  conformance::SharedMemory memory(kMemoryBytes);
  auto transport = RdmaTransport::open(options()).value();
  auto region = transport->register_memory(memory.bytes(), RemoteAccess::kWrite).value();
  auto listener = transport->listen(kAddress).value();
  auto endpoint =
      test::accept_lane(*listener, test::make_ticket(0), deadline_in(kTestTime)).value();
  const RemoteRegion description = region->describe();
  const Status sent =
      endpoint->send(std::as_bytes(std::span(&description, 1)), deadline_in(kTestTime));
  if (!sent) return 1;
  end_of_idle(*endpoint, Clock::now());
  return 0;
}

class PeerLoss : public testing::Test {
 protected:
  PeerLoss() {
    peer_ = ::popen(("lab-peer " + program + " --serve").c_str(), "w");
    const Deadline deadline = deadline_in(kTestTime);
    while (!endpoint_ && Clock::now() < deadline) {
      auto connected = transport_->connect(kAddress, test::make_ticket(0), deadline);
      if (connected) endpoint_ = std::move(*connected);
    }
    (void)endpoint_->receive(std::as_writable_bytes(std::span(&remote_, 1)), deadline);
  }
  ~PeerLoss() override {
    endpoint_.reset();
    run("lab-link 1 up; lab-peer /usr/sbin/tc qdisc del dev data1 root 2>/dev/null; true");
    ::pclose(peer_);
  }

  // It hears, and what it says is lost. (With its link down, the emulated network would hold what
  // is sent to it.)
  void silence_peer() { run("lab-peer /usr/sbin/tc qdisc replace dev data1 root netem loss 100%"); }

  conformance::SharedMemory memory_{kMemoryBytes};
  std::unique_ptr<RdmaTransport> transport_ = RdmaTransport::open(options()).value();
  std::unique_ptr<MemoryRegion> local_ =
      transport_->register_memory(memory_.bytes(), RemoteAccess::kNone).value();
  FILE* peer_ = nullptr;
  std::unique_ptr<Endpoint> endpoint_;
  RemoteRegion remote_{};
};

TEST_F(PeerLoss, OfASilentPeerEndsAnIdleLaneWithinItsTimeOut) {
  silence_peer();
  const LaneEnd end = end_of_idle(*endpoint_, Clock::now());

  std::cout << "idle, silent peer: " << to_string(end) << "\n";
  EXPECT_EQ(end.error.code, Errc::kPeerLost);
  EXPECT_LT(end.after, kPeerTimeout + kSoon);
}

TEST_F(PeerLoss, OfASilentPeerEndsABusyLaneWithinItsTimeOut) {
  silence_peer();
  const LaneEnd end = end_of_busy(*endpoint_, *local_, remote_, Clock::now());

  std::cout << "busy, silent peer: " << to_string(end) << "\n";
  EXPECT_EQ(end.error.code, Errc::kPeerLost);
  EXPECT_NE(to_string(end).find("failed: the peer does not answer"), std::string::npos)
      << to_string(end);
  EXPECT_LT(end.after, kPeerTimeout + kSoon);
}

TEST_F(PeerLoss, ByAPulledCableEndsALaneAtOnce) {
  run("lab-link 1 down");
  const LaneEnd end = end_of_busy(*endpoint_, *local_, remote_, Clock::now());

  std::cout << "busy, cable out: " << to_string(end) << "\n";
  EXPECT_EQ(end.error.code, Errc::kPeerLost);
  EXPECT_NE(to_string(end).find("its port is down"), std::string::npos);
  EXPECT_LT(end.after, kSoon);
}

TEST_F(PeerLoss, WithoutAnAddressOfOursIsSeenAtOnce) {
  run("/usr/sbin/ip address del 10.77.1.1/24 dev data1");
  const LaneEnd end = end_of_busy(*endpoint_, *local_, remote_, Clock::now());
  run("/usr/sbin/ip address add 10.77.1.1/24 dev data1");

  std::cout << "busy, own address gone: " << to_string(end) << "\n";
  EXPECT_EQ(end.error.code, Errc::kPeerLost);
  EXPECT_NE(to_string(end).find("its address on RDMA device rxe1 is gone"), std::string::npos);
  EXPECT_LT(end.after, kSoon);
}

TEST_F(PeerLoss, ByTheDeathOfItsProcessIsAGoodbye) {
  run("lab-peer pkill -KILL -f -- --serve");
  const LaneEnd end = end_of_idle(*endpoint_, Clock::now());

  std::cout << "idle, peer killed: " << to_string(end) << "\n";
  EXPECT_EQ(end.error.code, Errc::kPeerLost);
  EXPECT_LT(end.after, kPeerTimeout + kSoon);
}

}  // namespace
}  // namespace godwit::lab

int main(int count, char** arguments) {
  if (count == 2 && std::strcmp(arguments[1], "--serve") == 0) return godwit::lab::serve();
  godwit::lab::program = arguments[0];
  testing::InitGoogleTest(&count, arguments);
  return RUN_ALL_TESTS();
}
