// SPDX-License-Identifier: Apache-2.0
//
// The client against a peer that answers as told: right, late, wrong and endless. (Against real
// QEMUs it is used by every other test here.)
#include "vmm-adapters/qemu/qmp_client.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>

#include "engine/base/units.h"
#include "tests/engine/relay/socket_pair.h"

namespace godwit::qemu {
namespace {

using relay::make_socket_pair;
using relay::SocketPair;

constexpr auto kPatience = seconds(10);

// One end of a connection; the other runs a script in a thread of its own.
class Peer {
 public:
  Peer() {
    SocketPair pair = make_socket_pair();
    client_end = std::move(pair.ours);
    own_end_ = std::move(pair.theirs);
  }
  ~Peer() { finish(); }

  void run(std::function<void(Peer&)> script) {
    thread_ = std::thread([this, script = std::move(script)] { script(*this); });
  }
  void say(std::string_view text) const {
    while (!text.empty()) {
      ssize_t count = ::send(own_end_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (count <= 0) return;
      text.remove_prefix(static_cast<size_t>(count));
    }
  }
  std::string hear() const {
    std::string line;
    char letter = 0;
    while (recv(own_end_.get(), &letter, 1, 0) == 1 && letter != '\n') line += letter;
    return line;
  }
  void greet() const {
    say(R"({"QMP": {"version": {}, "capabilities": ["oob"]}})"
        "\r\n");
    EXPECT_NE(hear().find("qmp_capabilities"), std::string::npos);
    say("{\"return\": {}}\r\n");
  }
  void hang_up() { own_end_.reset(); }
  void finish() {
    if (thread_.joinable()) thread_.join();
  }

  UniqueFd client_end;

 private:
  UniqueFd own_end_;
  std::thread thread_;
};

std::unique_ptr<QmpClient> adopted(Peer& peer) {
  Result<std::unique_ptr<QmpClient>> client =
      QmpClient::adopt(std::move(peer.client_end), deadline_in(kPatience));
  EXPECT_TRUE(client) << to_string(client.error());
  return client ? std::move(*client) : nullptr;
}

TEST(QmpClient, ReturnsTheAnswerAndKeepsTheEventsAroundIt) {
  Peer peer;
  std::string heard;
  peer.run([&](Peer& self) {
    self.greet();
    heard = self.hear();
    self.say(R"({"event": "STOP"})"
             "\r\n"
             R"({"return": {"a": 1}})"
             "\r\n"
             R"({"event": "RES)");
    self.say(R"(UME", "data": {"x": 2}})"
             "\r\n");
  });
  std::unique_ptr<QmpClient> client = adopted(peer);

  Result<Json> answer = client->execute("do-it", {{"key", "value"}}, deadline_in(kPatience));
  Result<Json> event = client->wait_event(
      [](const Json& candidate) { return string_or(candidate, "event", "") == "RESUME"; },
      deadline_in(kPatience));

  peer.finish();
  ASSERT_TRUE(answer) << to_string(answer.error());
  EXPECT_EQ(integer_or(*answer, "a", 0), 1);
  EXPECT_TRUE(heard.starts_with(R"({"arguments":{"key":"value"},"execute":"do-it","id":)"));
  ASSERT_TRUE(event) << to_string(event.error());
  EXPECT_EQ(integer_or(field(*event, "data"), "x", 0), 2);
}

TEST(QmpClient, CarriesTheWordsOfAnError) {
  Peer peer;
  peer.run([](Peer& self) {
    self.greet();
    self.hear();
    self.say(R"({"error": {"class": "GenericError", "desc": "no such thing"}})"
             "\n");
  });
  std::unique_ptr<QmpClient> client = adopted(peer);

  Result<Json> answer = client->execute("do-it", {}, deadline_in(kPatience));

  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::kGuest);
  EXPECT_NE(to_string(answer.error()).find("do-it: no such thing"), std::string::npos);
  EXPECT_TRUE(client->usable());
}

TEST(QmpClient, PassesOverWhatQemuOwedToAnEarlierConnection) {
  Peer peer;
  peer.run([](Peer& self) {
    self.say(R"({"return": {}, "id": 7})"
             "\r\n"
             R"({"event": "STOP"})"
             "\r\n"
             R"({"error": {"class": "GenericError", "desc": "too late"}, "id": 8})"
             "\r\n");
    self.greet();
    self.hear();
    self.say("{\"return\": {\"a\": 1}}\r\n");
  });
  std::unique_ptr<QmpClient> client = adopted(peer);
  ASSERT_NE(client, nullptr);

  Result<Json> answer = client->execute("do-it", {}, deadline_in(kPatience));

  ASSERT_TRUE(answer) << to_string(answer.error());
  EXPECT_EQ(integer_or(*answer, "a", 0), 1);
}

std::string id_of(const std::string& request) {
  return std::to_string(integer_or(Json::parse(request, nullptr, false), "id", 0));
}

TEST(QmpClient, HasBegunWhenTheStreamIsWrittenTo) {
  Peer peer;
  SocketPair stream = make_socket_pair();  // of which QEMU has the other end
  char read = 0;
  peer.run([&](Peer& self) {
    self.greet();
    const std::string begin = self.hear();
    self.say("{\"event\": \"MIGRATION\"}\r\n");
    EXPECT_EQ(::send(stream.theirs.get(), "x", 1, 0), 1);
    // The answer comes when the stream has been read, and is not the next command's.
    const std::string next = self.hear();
    self.say(R"({"error": {"desc": "this is the other's"}, "id": )" + id_of(begin) + "}\r\n");
    self.say(R"({"return": {"a": 1}, "id": )" + id_of(next) + "}\r\n");
  });
  std::unique_ptr<QmpClient> client = adopted(peer);

  const Status begun = client->begin("do-it", {}, stream.ours.get(), deadline_in(kPatience));
  EXPECT_EQ(recv(stream.ours.get(), &read, 1, MSG_DONTWAIT), 1);
  const Result<Json> next = client->execute("do-more", {}, deadline_in(kPatience));

  EXPECT_TRUE(begun) << to_string(begun.error());
  EXPECT_EQ(read, 'x');
  ASSERT_TRUE(next) << to_string(next.error());
  EXPECT_EQ(integer_or(*next, "a", 0), 1);
  EXPECT_TRUE(client->has_event([](const Json&) { return true; }));
}

TEST(QmpClient, WaitsForAnEventPastAnAnswerThatNobodyWaitsFor) {
  Peer peer;
  SocketPair stream = make_socket_pair();  // of which QEMU has the other end
  peer.run([&](Peer& self) {
    self.greet();
    EXPECT_EQ(::send(stream.theirs.get(), "x", 1, 0), 1);
    self.say(R"({"return": {}, "id": )" + id_of(self.hear()) + "}\r\n");
    self.say("{\"event\": \"STOP\"}\r\n");
  });
  std::unique_ptr<QmpClient> client = adopted(peer);

  ASSERT_TRUE(client->begin("do-it", {}, stream.ours.get(), deadline_in(kPatience)));

  EXPECT_TRUE(client->wait_event([](const Json&) { return true; }, deadline_in(kPatience)));
}

TEST(QmpClient, HasNotBegunWhenItIsRefused) {
  Peer peer;
  SocketPair stream = make_socket_pair();  // of which QEMU has the other end
  peer.run([&](Peer& self) {
    self.greet();
    const std::string request = self.hear();
    stream.theirs.reset();
    self.say(R"({"error": {"desc": "no such thing"}, "id": )" + id_of(request) + "}\r\n");
  });
  std::unique_ptr<QmpClient> client = adopted(peer);

  const Status begun = client->begin("do-it", {}, stream.ours.get(), deadline_in(kPatience));

  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().code, Errc::kGuest);
  EXPECT_NE(to_string(begun.error()).find("no such thing"), std::string::npos);
}

TEST(QmpClient, IsUnusableAfterATimeout) {
  Peer peer;
  peer.run([](Peer& self) {
    self.greet();
    self.hear();
  });
  std::unique_ptr<QmpClient> client = adopted(peer);

  Result<Json> late = client->execute("do-it", {}, deadline_in(milliseconds(20)));
  Result<Json> next = client->execute("do-more", {}, deadline_in(kPatience));

  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::kTimeout);
  EXPECT_FALSE(client->usable());
  EXPECT_FALSE(next);
}

TEST(QmpClient, SaysThatThePeerHungUp) {
  Peer peer;
  peer.run([](Peer& self) {
    self.greet();
    self.hear();
    self.say("{\"ret");
    self.hang_up();
  });
  std::unique_ptr<QmpClient> client = adopted(peer);

  Result<Json> answer = client->execute("do-it", {}, deadline_in(kPatience));

  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::kPeerLost);
}

TEST(QmpClient, RefusesALineWithoutAnEnd) {
  Peer peer;
  peer.run([](Peer& self) {
    std::string much(kMiB, 'x');
    for (int i = 0; i < 20; i++) self.say(much);
  });

  Result<std::unique_ptr<QmpClient>> client =
      QmpClient::adopt(std::move(peer.client_end), deadline_in(seconds(30)));

  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code, Errc::kCorrupt);
}

class QmpClientGarbage : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Lines, QmpClientGarbage,
                         testing::Values("", "garbage", "[]", "17", "{", "{\"QMP\": ", "\xff\xfe",
                                         "{\"hello\": 5}"));

TEST_P(QmpClientGarbage, IsNoGreeting) {
  Peer peer;
  peer.say(std::string(GetParam()) + "\n");

  Result<std::unique_ptr<QmpClient>> client =
      QmpClient::adopt(std::move(peer.client_end), deadline_in(kPatience));

  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code, Errc::kCorrupt);
}

TEST(QmpClient, SaysThatNobodyListens) {
  Result<std::unique_ptr<QmpClient>> client =
      QmpClient::connect("/nonexistent/qmp", deadline_in(kPatience));

  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code, Errc::kSystem);
  EXPECT_NE(to_string(client.error()).find("/nonexistent/qmp"), std::string::npos);
}

TEST(QmpClient, RefusesAPathThatDoesNotFit) {
  EXPECT_FALSE(QmpClient::connect(std::string(200, 'p'), deadline_in(kPatience)));
}

}  // namespace
}  // namespace godwit::qemu
