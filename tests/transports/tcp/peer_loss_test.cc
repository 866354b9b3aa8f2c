// SPDX-License-Identifier: Apache-2.0
//
// Peers that go, stall, or never were: the endpoint says so, in time, and names the peer.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/support/connected_endpoints.h"
#include "tests/transports/tcp/raw_peer.h"
#include "transports/tcp/socket.h"

namespace godwit::tcp_test {
namespace {

TEST(PeerLoss, AClosedConnectionNamesThePeer) {
  Attack attack;

  attack.peer().close();
  const Error error = attack.end();

  EXPECT_EQ(error.code, Errc::kPeerLost);
  EXPECT_NE(error.text().find("127.0.0.1:"), std::string_view::npos) << error.text();
}

// Half open, as far as this side can tell: the connection stands, and nobody takes what is sent.
TEST(PeerLoss, APeerThatStopsReadingIsLostAfterItsTimeOut) {
  auto transport = TcpTransport::open({.peer_timeout = milliseconds(500)}).value();
  GuardedMemory memory;
  auto local = transport->register_memory(memory.local(), RemoteAccess::kNone).value();
  auto listener = transport->listen("127.0.0.1:0").value();
  std::unique_ptr<RawPeer> peer;
  std::jthread connecting(
      [&] { peer = std::make_unique<RawPeer>(listener->address(), test::make_ticket(0)); });
  auto endpoint =
      test::accept_lane(*listener, test::make_ticket(0), deadline_in(seconds(20))).value();
  connecting.join();
  const RemoteRegion remote{0, GuardedMemory::kRegionBytes, 1};
  std::vector<TransferOp> ops(
      2000, {local.get(), 0, remote, 0, static_cast<uint32_t>(GuardedMemory::kRegionBytes), 0});
  std::array<Completion, 64> completions;

  const auto start = Clock::now();
  size_t posted = 0;
  size_t completed = 0;
  std::optional<Error> error;
  while (!error && Clock::now() - start < seconds(20)) {
    Result<size_t> count =
        endpoint->post_writes(std::span(ops).subspan(posted), SourceMemory::kFrozen);
    if (count) posted += *count;
    count = endpoint->poll(completions, deadline_in(seconds(20)));
    if (count) completed += *count;
    if (!count) error = count.error();
  }

  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, Errc::kPeerLost) << to_string(*error);
  EXPECT_NE(error->text().find("500 ms"), std::string_view::npos) << to_string(*error);
  EXPECT_EQ(completed, posted);
  EXPECT_LT(Clock::now() - start, seconds(10));
}

TEST(TcpListener, SilentAndEndlessNewcomersDoNotDelayTheOneExpected) {
  auto transport = TcpTransport::open().value();
  auto listener = transport->listen("localhost:0").value();
  const Deadline deadline = deadline_in(seconds(20));
  const auto address = resolve(listener->address(), AddressUse::kConnect).value().front();
  std::vector<UniqueFd> newcomers;
  for (int i = 0; i < 100; ++i) newcomers.push_back(connect_to(address, {}, deadline).value());
  const Bytes junk(3000, std::byte{1});
  for (int i = 0; i < 50; ++i) static_cast<void>(send_all(newcomers[i * 2].get(), junk, deadline));

  const auto start = Clock::now();
  Result<std::unique_ptr<Endpoint>> connected = fail(Errc::kTimeout, "not tried");
  std::jthread connecting(
      [&] { connected = transport->connect(listener->address(), test::make_ticket(1), deadline); });
  auto accepted = test::accept_lane(*listener, test::make_ticket(1), deadline);
  connecting.join();

  EXPECT_TRUE(accepted) << to_string(accepted.error());
  EXPECT_TRUE(connected) << to_string(connected.error());
  EXPECT_LT(Clock::now() - start, seconds(3));
}

TEST(TcpTransport, RefusesAddressesThatAreNone) {
  auto transport = TcpTransport::open().value();

  for (const char* address : {"", "host", "host:", "::1:7471", ":80"}) {
    auto connected = transport->connect(address, test::make_ticket(0), deadline_in(seconds(5)));
    ASSERT_FALSE(connected);
    EXPECT_EQ(connected.error().code, Errc::kRefused) << address;
  }
}

TEST(TcpTransport, RefusesACongestionControlThatDoesNotExist) {
  auto transport = TcpTransport::open({.congestion_control = "no-such-thing"}).value();
  auto listener = transport->listen("127.0.0.1:0").value();

  auto connected =
      transport->connect(listener->address(), test::make_ticket(0), deadline_in(seconds(5)));

  ASSERT_FALSE(connected);
  EXPECT_NE(connected.error().text().find("no-such-thing"), std::string_view::npos);
}

TEST(TcpTransport, ConnectGivesUpAtItsDeadlineWhenNobodyAccepts) {
  auto transport = TcpTransport::open().value();
  auto listener = transport->listen("127.0.0.1:0").value();

  auto connected =
      transport->connect(listener->address(), test::make_ticket(0), deadline_in(milliseconds(20)));

  ASSERT_FALSE(connected);
  EXPECT_EQ(connected.error().code, Errc::kTimeout) << to_string(connected.error());
}

}  // namespace
}  // namespace godwit::tcp_test
