// SPDX-License-Identifier: Apache-2.0
//
// What every control channel promises, whatever its security.
#include <gtest/gtest.h>

#include <future>

#include "tests/transports/control/connected_pair.h"
#include "tests/transports/control/tls_files.h"
#include "transports/control/psk_file.h"

namespace godwit::control_test {
namespace {

class ControlChannelTest : public testing::TestWithParam<SecurityKind> {
 protected:
  ControlSecurity security() {
    if (GetParam() == SecurityKind::kInsecure) return {};
    if (GetParam() == SecurityKind::kPreSharedKey) {
      EXPECT_TRUE(write_new_pre_shared_key(folder_.file("key")));
      return with_key(folder_.file("key"));
    }
    CertificateAuthority authority;
    write_complete_folder(authority, folder_.path());
    return with_certificates(folder_.path());
  }

 private:
  TemporaryFolder folder_;
};

INSTANTIATE_TEST_SUITE_P(Security, ControlChannelTest,
                         testing::Values(SecurityKind::kInsecure, SecurityKind::kPreSharedKey,
                                         SecurityKind::kX509));

TEST_P(ControlChannelTest, CarriesMessagesOfAllSizesInOrder) {
  ConnectedPair pair = connect_pair(security());

  for (ControlChannel* from :
       {pair.client.get(), static_cast<ControlChannel*>(pair.server.get())}) {
    ControlChannel* to = from == pair.client.get() ? pair.server.get() : pair.client.get();
    for (size_t size : {size_t{0}, size_t{1}, size_t{4095}, size_t{65536}, size_t{200'000}}) {
      std::vector<std::byte> message = pattern(size, static_cast<unsigned>(size));
      ASSERT_TRUE(from->send(message, deadline_in(kLong)));
      Result<std::vector<std::byte>> received = to->receive(deadline_in(kLong));
      ASSERT_TRUE(received) << received.error().text();
      ASSERT_EQ(*received, message);
    }
  }
}

TEST_P(ControlChannelTest, CarriesTheLargestMessageBothWaysAtOnce) {
  ConnectedPair pair = connect_pair(security());
  std::vector<std::byte> there = pattern(kControlMessageBytesMax, 1);
  std::vector<std::byte> back = pattern(kControlMessageBytesMax, 2);

  auto send = [](ControlChannel& channel, const std::vector<std::byte>& message) {
    return std::async(std::launch::async,
                      [&channel, &message] { return channel.send(message, deadline_in(kLong)); });
  };
  auto receive = [](ControlChannel& channel) {
    return std::async(std::launch::async,
                      [&channel] { return channel.receive(deadline_in(kLong)); });
  };
  auto sent_there = send(*pair.client, there);
  auto sent_back = send(*pair.server, back);
  auto received_there = receive(*pair.server);
  auto received_back = receive(*pair.client);

  EXPECT_TRUE(sent_there.get());
  EXPECT_TRUE(sent_back.get());
  EXPECT_EQ(received_there.get().value(), there);
  EXPECT_EQ(received_back.get().value(), back);
}

TEST_P(ControlChannelTest, RefusesToSendAMessageThatIsTooLong) {
  ConnectedPair pair = connect_pair(security());

  Status sent =
      pair.client->send(std::vector<std::byte>(kControlMessageBytesMax + 1), deadline_in(kLong));

  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errc::kCorrupt);
}

TEST_P(ControlChannelTest, StaysAliveAfterATimeout) {
  ConnectedPair pair = connect_pair(security());

  Result<std::vector<std::byte>> nothing = pair.server->receive(deadline_in(milliseconds(1)));
  ASSERT_TRUE(pair.client->send(pattern(100, 3), deadline_in(kLong)));
  Result<std::vector<std::byte>> something = pair.server->receive(deadline_in(kLong));

  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, Errc::kTimeout);
  ASSERT_TRUE(something);
  EXPECT_EQ(*something, pattern(100, 3));
}

TEST_P(ControlChannelTest, GivesBothEndsTheSameTokenAndEachLaneAnother) {
  const ControlSecurity both = security();
  ConnectedPair pair = connect_pair(both);
  ConnectedPair other = connect_pair(both);

  auto token = pair.client->lane_token(3);
  ASSERT_TRUE(token);
  EXPECT_EQ(*token, pair.server->lane_token(3).value());
  EXPECT_NE(*token, pair.client->lane_token(4).value());
  EXPECT_NE(*token, other.client->lane_token(3).value());
}

TEST_P(ControlChannelTest, NamesItsSecurityAndItsPeer) {
  ConnectedPair pair = connect_pair(security());

  EXPECT_EQ(pair.client->security(), to_string(GetParam()));
  EXPECT_EQ(pair.client->peer_address(), pair.server->local_address());
}

TEST_P(ControlChannelTest, DeliversWhatWasSentBeforeThePeerLeft) {
  ConnectedPair pair = connect_pair(security());
  ASSERT_TRUE(pair.client->send(pattern(50'000, 4), deadline_in(kLong)));
  pair.client.reset();

  Result<std::vector<std::byte>> last = pair.server->receive(deadline_in(kLong));
  Result<std::vector<std::byte>> after = pair.server->receive(deadline_in(kLong));

  ASSERT_TRUE(last);
  EXPECT_EQ(*last, pattern(50'000, 4));
  ASSERT_FALSE(after);
  EXPECT_EQ(after.error().code, Errc::kPeerLost);
}

TEST_P(ControlChannelTest, TellsASenderThatThePeerIsLost) {
  ConnectedPair pair = connect_pair(security());
  pair.server.reset();

  // The first messages may still go into the socket's buffer.
  Status sent;
  for (int i = 0; i < 1000 && sent; ++i)
    sent = pair.client->send(pattern(65536, 5), deadline_in(kLong));

  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errc::kPeerLost);
}

TEST_P(ControlChannelTest, CountsAPeerThatTakesNothingAsLost) {
  ConnectedPair pair = connect_pair(security());

  Status sent;
  for (int i = 0; i < 1000 && sent; ++i) {
    sent = pair.client->send(pattern(kControlMessageBytesMax, 6), deadline_in(milliseconds(50)));
  }

  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errc::kPeerLost);
  Result<std::vector<std::byte>> received = pair.client->receive(deadline_in(kLong));
  EXPECT_FALSE(received);
}

TEST_P(ControlChannelTest, WakesAReceiverWhenItIsShutDown) {
  ConnectedPair pair = connect_pair(security());
  auto received =
      std::async(std::launch::async, [&] { return pair.client->receive(deadline_in(kLong)); });

  pair.client->shut_down();

  Result<std::vector<std::byte>> outcome = received.get();
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, Errc::kCancelled);
}

}  // namespace
}  // namespace godwit::control_test
