// SPDX-License-Identifier: Apache-2.0
//
// Conformance of every transport: messages arrive once, whole, in order, and after the writes that
// were posted before them.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "tests/conformance/connected_pair.h"
#include "tests/support/same_bytes.h"

namespace godwit::conformance {
namespace {

class TransportMessage : public testing::TestWithParam<TransportKind> {
 protected:
  TransportMessage()
      : transports_(GetParam().make()), endpoints_(connect_pair(GetParam(), transports_)) {}

  TransportPair transports_;
  EndpointPair endpoints_;
};

std::vector<std::byte> numbered_message(uint32_t number, size_t size) {
  std::vector<std::byte> message(size, static_cast<std::byte>(number));
  if (size >= sizeof(number)) std::memcpy(message.data(), &number, sizeof(number));
  return message;
}

TEST_P(TransportMessage, MessagesOfAllSizesArriveInOrder) {
  const size_t largest = transports_.source->capabilities().messages_bytes_max;
  const std::array<size_t, 6> sizes{0, 1, 4, 4097, largest - 1, largest};

  std::jthread sending([&] {
    for (uint32_t i = 0; i < sizes.size(); ++i) {
      EXPECT_TRUE(endpoints_.source->send(numbered_message(i, sizes[i]), deadline_in(kTestTime)));
    }
  });

  std::vector<std::byte> buffer(largest);
  for (uint32_t i = 0; i < sizes.size(); ++i) {
    Result<size_t> size = endpoints_.destination->receive(buffer, deadline_in(kTestTime));
    ASSERT_TRUE(size) << to_string(size.error());
    EXPECT_TRUE(test::same_bytes(std::span(buffer).first(*size), numbered_message(i, sizes[i])));
  }
}

TEST_P(TransportMessage, MoreMessagesThanAnyBufferHoldsWaitForTheReceiver) {
  constexpr size_t kSize = 1500;
  const auto messages = static_cast<uint32_t>(GetParam().buffered_bytes_max / kSize);

  std::jthread sending([&] {
    for (uint32_t i = 0; i < messages; ++i) {
      ASSERT_TRUE(endpoints_.source->send(numbered_message(i, kSize), deadline_in(kTestTime)));
    }
  });

  std::vector<std::byte> buffer(kSize);
  for (uint32_t i = 0; i < messages; ++i) {
    Result<size_t> size = endpoints_.destination->receive(buffer, deadline_in(kTestTime));
    ASSERT_TRUE(size) << to_string(size.error());
    ASSERT_TRUE(test::same_bytes(std::span(buffer).first(*size), numbered_message(i, kSize)));
  }
}

TEST_P(TransportMessage, AMessageArrivesAfterTheWritesBeforeIt) {
  constexpr size_t kBytes = 3 * kMiB;
  SharedMemory from(kBytes);
  SharedMemory to(kBytes);
  auto local = transports_.source->register_memory(from.bytes(), RemoteAccess::kNone).value();
  auto remote = transports_.destination->register_memory(to.bytes(), RemoteAccess::kWrite).value();
  constexpr uint32_t kRounds = 20;
  const auto value_of = [](uint32_t round) { return static_cast<std::byte>(round + 1); };

  std::jthread receiving([&] {
    std::array<std::byte, 4> message;
    for (uint32_t round = 0; round < kRounds; ++round) {
      ASSERT_TRUE(endpoints_.destination->receive(message, deadline_in(kTestTime)));
      ASSERT_TRUE(test::all_bytes_are(to.bytes(), value_of(round)));
      ASSERT_TRUE(endpoints_.destination->send(message, deadline_in(kTestTime)));
    }
  });

  std::vector<TransferOp> ops;
  for (uint64_t at = 0; at < kBytes; at += 64 * kKiB) {
    ops.push_back({local.get(), at, remote->describe(), at, 64 * kKiB, at});
  }
  std::array<std::byte, 4> answer;
  for (uint32_t round = 0; round < kRounds; ++round) {
    std::ranges::fill(from.bytes(), value_of(round));
    std::array<Completion, 64> completions;
    size_t posted = 0;
    while (posted < ops.size()) {
      posted +=
          endpoints_.source->post_writes(std::span(ops).subspan(posted), SourceMemory::kFrozen)
              .value();
    }
    ASSERT_TRUE(endpoints_.source->send(numbered_message(round, 4), deadline_in(kTestTime)));
    ASSERT_TRUE(endpoints_.source->receive(answer, deadline_in(kTestTime)));
    for (size_t polled = 0; polled < ops.size();) {
      polled += endpoints_.source->poll(completions, deadline_in(kTestTime)).value();
    }
  }
}

TEST_P(TransportMessage, ATimeOutLeavesTheEndpointAlive) {
  std::array<std::byte, 4> message;

  Result<size_t> nothing = endpoints_.destination->receive(message, deadline_in(milliseconds(1)));
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, Errc::kTimeout);

  ASSERT_TRUE(endpoints_.source->send(numbered_message(5, 4), deadline_in(kTestTime)));
  EXPECT_TRUE(endpoints_.destination->receive(message, deadline_in(kTestTime)));
}

TEST_P(TransportMessage, AMessageLongerThanExpectedEndsTheConnection) {
  ASSERT_TRUE(endpoints_.source->send(numbered_message(1, 100), deadline_in(kTestTime)));

  std::array<std::byte, 10> small;
  Result<size_t> received = endpoints_.destination->receive(small, deadline_in(kTestTime));

  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code, Errc::kCorrupt);
}

INSTANTIATE_TEST_SUITE_P(All, TransportMessage, testing::ValuesIn(all_transport_kinds()),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace godwit::conformance
