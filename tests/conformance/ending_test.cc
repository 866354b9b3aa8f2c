// SPDX-License-Identifier: Apache-2.0
//
// Conformance of every transport: who gets in, and how connections end. Nothing hangs, every
// accepted operation completes once, and what a peer may not touch is not touched.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "tests/conformance/connected_pair.h"
#include "tests/support/same_bytes.h"

namespace godwit::conformance {
namespace {

constexpr size_t kMemoryBytes = 4 * kMiB;

class TransportEnding : public testing::TestWithParam<TransportKind> {
 protected:
  TransportEnding() : transports_(GetParam().make()) {
    local_ =
        transports_.source->register_memory(source_memory_.bytes(), RemoteAccess::kNone).value();
  }

  TransferOp write_to(const RemoteRegion& region, uint64_t tag) const {
    return {local_.get(), 0, region, tag * kBasePageBytes % kMemoryBytes, kBasePageBytes, tag};
  }

  // Returns the error that ends the endpoint, having seen every completion on the way.
  Error poll_to_the_end(Endpoint& endpoint, std::vector<int>& completions) {
    std::array<Completion, 16> polled;
    while (true) {
      Result<size_t> count = endpoint.poll(polled, deadline_in(kTestTime));
      if (!count) return count.error();
      for (size_t i = 0; i < *count; ++i) ++completions[polled[i].tag];
      if (*count > 0) continue;
      // Nothing is in flight: the end shows at the next message.
      std::array<std::byte, 8> message;
      if (auto received = endpoint.receive(message, deadline_in(kTestTime)); !received) {
        return received.error();
      }
    }
  }

  SharedMemory source_memory_{kMemoryBytes};
  SharedMemory destination_memory_{kMemoryBytes};
  TransportPair transports_;
  std::unique_ptr<MemoryRegion> local_;
};

TEST_P(TransportEnding, EveryAcceptedOperationCompletesOnceWhenThePeerGoes) {
  auto remote =
      transports_.destination->register_memory(destination_memory_.bytes(), RemoteAccess::kWrite)
          .value();
  EndpointPair endpoints = connect_pair(GetParam(), transports_);
  std::vector<int> completions(200000);
  size_t accepted = 0;
  std::array<Completion, 16> polled;

  {
    PassivePeer peer(std::move(endpoints.destination));
    while (accepted < 1000) {
      const TransferOp op = write_to(remote->describe(), accepted);
      accepted += endpoints.source->post_writes({&op, 1}, SourceMemory::kLive).value();
      const size_t count =
          endpoints.source->poll({polled.data(), 1}, deadline_in(kTestTime)).value();
      for (size_t i = 0; i < count; ++i) ++completions[polled[i].tag];
    }
  }
  for (bool alive = true; alive && accepted < completions.size();) {
    const TransferOp op = write_to(remote->describe(), accepted);
    Result<size_t> count = endpoints.source->post_writes({&op, 1}, SourceMemory::kLive);
    alive = count && *count == 1;
    if (alive) ++accepted;
  }
  const Error error = poll_to_the_end(*endpoints.source, completions);

  EXPECT_EQ(error.code, Errc::kPeerLost) << to_string(error);
  EXPECT_EQ(std::count(completions.begin(), completions.end(), 1),
            static_cast<std::ptrdiff_t>(accepted));
}

TEST_P(TransportEnding, ShutDownWakesAnOwnerWhoWaits) {
  EndpointPair endpoints = connect_pair(GetParam(), transports_);
  std::atomic<bool> about_to_wait = false;
  Error error{};

  std::jthread owner([&] {
    std::array<std::byte, 8> message;
    about_to_wait = true;
    Result<size_t> received = endpoints.destination->receive(message, deadline_in(kTestTime));
    if (!received) error = received.error();
  });
  while (!about_to_wait) std::this_thread::yield();
  const auto start = Clock::now();
  endpoints.destination->shut_down();
  owner.join();

  EXPECT_LT(Clock::now() - start, seconds(3));
  EXPECT_EQ(error.code, Errc::kCancelled) << to_string(error);
}

TEST_P(TransportEnding, TheOtherSideOfAShutDownEndpointLosesItsPeer) {
  EndpointPair endpoints = connect_pair(GetParam(), transports_);

  endpoints.source->shut_down();

  std::array<std::byte, 8> message;
  Result<size_t> received = endpoints.destination->receive(message, deadline_in(kTestTime));
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code, Errc::kPeerLost) << to_string(received.error());
}

TEST_P(TransportEnding, AMessageSentJustBeforeTheEndStillArrives) {
  EndpointPair endpoints = connect_pair(GetParam(), transports_);
  const std::array<std::byte, 3> sent{std::byte{1}, std::byte{2}, std::byte{3}};

  ASSERT_TRUE(endpoints.source->send(sent, deadline_in(kTestTime)));
  endpoints.source.reset();

  std::array<std::byte, 8> message;
  Result<size_t> received = endpoints.destination->receive(message, deadline_in(kTestTime));
  ASSERT_TRUE(received) << to_string(received.error());
  EXPECT_EQ(*received, sent.size());
  EXPECT_FALSE(endpoints.destination->receive(message, deadline_in(kTestTime)));
}

TEST_P(TransportEnding, AWriteToARegionThatDoesNotAllowItTouchesNothing) {
  auto remote =
      transports_.destination->register_memory(destination_memory_.bytes(), RemoteAccess::kRead)
          .value();
  source_memory_.fill_randomly(3);
  EndpointPair endpoints = connect_pair(GetParam(), transports_);
  PassivePeer peer(std::move(endpoints.destination));
  std::vector<int> completions(1);
  const TransferOp op = write_to(remote->describe(), 0);

  // Whether it is found before or behind the acceptance is the transport's business.
  Result<size_t> accepted = 0;
  while (accepted && *accepted == 0) {
    accepted = endpoints.source->post_writes({&op, 1}, SourceMemory::kFrozen);
  }
  const Error error = accepted ? poll_to_the_end(*endpoints.source, completions) : accepted.error();

  EXPECT_EQ(error.code, Errc::kCorrupt) << to_string(error);
  EXPECT_EQ(completions[0], 1);
  EXPECT_TRUE(test::all_bytes_are(destination_memory_.bytes(), std::byte{0}));
}

TEST_P(TransportEnding, ARegionThatIsGoneCanNotBeWrittenAnyMore) {
  auto remote =
      transports_.destination->register_memory(destination_memory_.bytes(), RemoteAccess::kWrite)
          .value();
  const RemoteRegion description = remote->describe();
  remote.reset();
  source_memory_.fill_randomly(3);
  EndpointPair endpoints = connect_pair(GetParam(), transports_);
  PassivePeer peer(std::move(endpoints.destination));
  std::vector<int> completions(1);
  const TransferOp op = write_to(description, 0);

  // Whether it is found before or behind the acceptance is the transport's business.
  Result<size_t> accepted = 0;
  while (accepted && *accepted == 0) {
    accepted = endpoints.source->post_writes({&op, 1}, SourceMemory::kFrozen);
  }
  const Error error = accepted ? poll_to_the_end(*endpoints.source, completions) : accepted.error();

  EXPECT_EQ(error.code, Errc::kCorrupt) << to_string(error);
  EXPECT_EQ(destination_memory_.bytes()[0], std::byte{0});
}

TEST_P(TransportEnding, WrongTicketsAreRefusedWhileTheRightOneGetsIn) {
  auto listener = transports_.destination->listen(GetParam().listen_address).value();
  const Deadline deadline = deadline_in(kTestTime);
  LaneTicket wrong_token = make_ticket(3);
  wrong_token.token[31] ^= std::byte{1};
  LaneTicket wrong_lane = make_ticket(3);
  wrong_lane.lane = 4;
  std::vector<Errc> refusals;
  Result<std::unique_ptr<Endpoint>> connected = fail(Errc::kTimeout, "not tried");

  std::jthread connecting([&] {
    for (const LaneTicket& ticket : {wrong_token, wrong_lane}) {
      auto refused = transports_.source->connect(listener->address(), ticket, deadline);
      if (!refused) refusals.push_back(refused.error().code);
    }
    connected = transports_.source->connect(listener->address(), make_ticket(3), deadline);
  });
  auto accepted = test::accept_lane(*listener, make_ticket(3), deadline);
  connecting.join();

  EXPECT_TRUE(accepted) << to_string(accepted.error());
  EXPECT_TRUE(connected) << to_string(connected.error());
  EXPECT_EQ(refusals, (std::vector{Errc::kRefused, Errc::kRefused}));
}

TEST_P(TransportEnding, ShutDownWakesAcceptAndItsDeadlineDoesToo) {
  auto listener = transports_.destination->listen(GetParam().listen_address).value();

  auto late = test::accept_lane(*listener, make_ticket(0), deadline_in(milliseconds(1)));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::kTimeout);

  std::jthread other([&] { listener->shut_down(); });
  auto woken = test::accept_lane(*listener, make_ticket(0), deadline_in(kTestTime));
  ASSERT_FALSE(woken);
  EXPECT_EQ(woken.error().code, Errc::kCancelled);
}

TEST_P(TransportEnding, ConnectingWhereNobodyListensFails) {
  std::string address;
  {
    auto listener = transports_.destination->listen(GetParam().listen_address).value();
    address = listener->address();
  }

  auto connected = transports_.source->connect(address, make_ticket(0), deadline_in(kTestTime));

  ASSERT_FALSE(connected);
  EXPECT_EQ(connected.error().code, Errc::kPeerLost) << to_string(connected.error());
}

TEST_P(TransportEnding, PollWithNothingInFlightReturnsAtOnce) {
  EndpointPair endpoints = connect_pair(GetParam(), transports_);
  std::array<Completion, 4> completions;

  EXPECT_EQ(endpoints.source->poll(completions, deadline_in(kTestTime)).value(), 0U);
}

INSTANTIATE_TEST_SUITE_P(All, TransportEnding, testing::ValuesIn(all_transport_kinds()),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace godwit::conformance
