// SPDX-License-Identifier: Apache-2.0
//
// Peers that are slow, mad or many, and what they may cost.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <string_view>

#include "tests/transports/control/connected_pair.h"
#include "tests/transports/control/tls_files.h"
#include "transports/control/preamble.h"
#include "transports/control/psk_file.h"

namespace godwit::control_test {
namespace {

class HostilePeer : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(write_new_pre_shared_key(folder_.file("key")));
    security_ = with_key(folder_.file("key"));
  }

  static void send_bytes(const UniqueFd& socket, std::span<const std::byte> bytes) {
    ASSERT_EQ(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  // Whatever the peer answers, up to its end.
  static std::string read_to_end(const UniqueFd& socket) {
    std::string text;
    std::array<char, 4096> piece{};
    for (;;) {
      ssize_t size = ::recv(socket.get(), piece.data(), piece.size(), 0);
      if (size <= 0) return text;
      text.append(piece.data(), static_cast<size_t>(size));
    }
  }

  Status connect_rightly(Acceptor& acceptor) {
    Result<std::unique_ptr<ControlChannel>> client =
        connect_control(acceptor.address(), security_, deadline_in(kLong));
    if (!client) return tl::unexpected<Error>(client.error());
    Result<std::unique_ptr<ControlConnection>> server = acceptor.accepted();
    if (!server) return tl::unexpected<Error>(server.error());
    return {};
  }

  TemporaryFolder folder_;
  ControlSecurity security_;
};

TEST_F(HostilePeer, SilentOnesDoNotDelayTheRightOne) {
  Acceptor acceptor(security_);
  std::vector<UniqueFd> silent;
  for (size_t i = 0; i < kPendingPeersMax - 1; ++i)
    silent.push_back(connect_raw(acceptor.address()));
  Clock::time_point start = Clock::now();

  Status connected = connect_rightly(acceptor);

  EXPECT_TRUE(connected) << connected.error().text();
  EXPECT_LT(Clock::now() - start, kPendingPeerPatience / 2);
}

TEST_F(HostilePeer, HalfAHandshakeDoesNotDelayTheRightOne) {
  Acceptor acceptor(security_);
  control::Preamble preamble = control::make_preamble(SecurityKind::kPreSharedKey);
  std::vector<UniqueFd> slow;
  for (size_t length : {size_t{1}, size_t{9}, preamble.size()}) {
    slow.push_back(connect_raw(acceptor.address()));
    send_bytes(slow.back(), std::span(preamble).first(length));
  }

  EXPECT_TRUE(connect_rightly(acceptor));
}

TEST_F(HostilePeer, TooManyMakeRoomForTheRightOne) {
  Acceptor acceptor(security_);
  std::vector<UniqueFd> silent;
  for (size_t i = 0; i < 3 * kPendingPeersMax; ++i)
    silent.push_back(connect_raw(acceptor.address()));

  EXPECT_TRUE(connect_rightly(acceptor));
  EXPECT_GE(acceptor.rejections().size(), kPendingPeersMax);
}

TEST_F(HostilePeer, SilentOneIsDroppedWhenItsTimeIsOver) {
  Acceptor acceptor(security_, milliseconds(20));
  UniqueFd silent = connect_raw(acceptor.address());

  EXPECT_EQ(read_to_end(silent), "");
  EXPECT_NE(acceptor.first_rejection().find("did not say who it is"), std::string::npos);
}

TEST_F(HostilePeer, RandomBytesAreTurnedAway) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    Acceptor acceptor(security_);
    UniqueFd peer = connect_raw(acceptor.address());
    send_bytes(peer, pattern(300, seed));

    EXPECT_NE(acceptor.first_rejection().find("does not speak Godwit's protocol"),
              std::string::npos);
    EXPECT_TRUE(connect_rightly(acceptor));
  }
}

TEST_F(HostilePeer, RandomBytesBehindAPreambleAreTurnedAway) {
  control::Preamble preamble = control::make_preamble(SecurityKind::kPreSharedKey);
  for (unsigned seed = 0; seed < 20; ++seed) {
    Acceptor acceptor(security_);
    UniqueFd peer = connect_raw(acceptor.address());
    send_bytes(peer, preamble);
    send_bytes(peer, pattern(40'000, seed));
    ::shutdown(peer.get(), SHUT_WR);

    EXPECT_FALSE(acceptor.first_rejection().empty());
    EXPECT_TRUE(connect_rightly(acceptor));
  }
}

TEST_F(HostilePeer, ClientHelloThatAnnouncesAHugeMessageIsTurnedAway) {
  Acceptor acceptor(security_);
  UniqueFd peer = connect_raw(acceptor.address());
  send_bytes(peer, control::make_preamble(SecurityKind::kPreSharedKey));
  // A record of 16 KiB, the beginning of a ClientHello of 128 KiB.
  constexpr std::array<unsigned char, 9> kRecord = {22, 3, 1, 0x40, 0, 1, 2, 0, 0};
  send_bytes(peer, std::as_bytes(std::span(kRecord)));

  EXPECT_NE(acceptor.first_rejection().find("TLS handshake message of 131072 bytes"),
            std::string::npos);
}

// The peer has the preamble and the hello right, then announces more than is allowed.
TEST_F(HostilePeer, AnnouncedLengthOverTheLimitEndsTheChannel) {
  Acceptor acceptor(ControlSecurity{});
  UniqueFd peer = connect_raw(acceptor.address());
  control::Preamble preamble = control::make_preamble(SecurityKind::kInsecure);
  send_bytes(peer, preamble);
  send_bytes(peer, preamble);
  send_bytes(peer, pattern(32, 1));
  Result<std::unique_ptr<ControlConnection>> server = acceptor.accepted();
  ASSERT_TRUE(server) << server.error().text();
  constexpr std::array<unsigned char, 4> kLength = {0xff, 0xff, 0xff, 0xff};
  send_bytes(peer, std::as_bytes(std::span(kLength)));

  Result<std::vector<std::byte>> received = (*server)->receive(deadline_in(kLong));

  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code, Errc::kCorrupt);
  EXPECT_FALSE((*server)->receive(deadline_in(kLong)));
}

TEST_F(HostilePeer, MessageThatArrivesInSplintersIsPutTogether) {
  Acceptor acceptor(ControlSecurity{});
  UniqueFd peer = connect_raw(acceptor.address());
  control::Preamble preamble = control::make_preamble(SecurityKind::kInsecure);
  send_bytes(peer, preamble);
  send_bytes(peer, preamble);
  send_bytes(peer, pattern(32, 1));
  Result<std::unique_ptr<ControlConnection>> server = acceptor.accepted();
  ASSERT_TRUE(server);
  constexpr std::array<unsigned char, 7> kFrame = {3, 0, 0, 0, 7, 8, 9};

  // After each byte but the last the receiver finds nothing whole, and forgets nothing.
  for (size_t i = 0; i + 1 < kFrame.size(); ++i) {
    send_bytes(peer, std::as_bytes(std::span(kFrame)).subspan(i, 1));
    EXPECT_EQ((*server)->receive(deadline_in(milliseconds(2))).error().code, Errc::kTimeout);
  }
  send_bytes(peer, std::as_bytes(std::span(kFrame)).last(1));
  Result<std::vector<std::byte>> received = (*server)->receive(deadline_in(kLong));

  ASSERT_TRUE(received);
  EXPECT_EQ(*received, (std::vector<std::byte>{std::byte{7}, std::byte{8}, std::byte{9}}));
}

TEST_F(HostilePeer, ListenerStopsWhenItIsShutDown) {
  Acceptor acceptor(security_);

  acceptor.listener().shut_down();

  Result<std::unique_ptr<ControlConnection>> accepted = acceptor.accepted();
  ASSERT_FALSE(accepted);
  EXPECT_EQ(accepted.error().code, Errc::kCancelled);
}

}  // namespace
}  // namespace godwit::control_test
