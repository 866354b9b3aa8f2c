// SPDX-License-Identifier: Apache-2.0
//
// The faults of a plan happen to a real loopback connection, and nothing else does.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <thread>
#include <vector>

#include "tests/support/connected_endpoints.h"
#include "transports/loopback/loopback_transport.h"

namespace godwit {
namespace {

constexpr uint32_t kPages = 16;
constexpr uint32_t kBytes = kPages * static_cast<uint32_t>(kBasePageBytes);

class LoopbackFaults : public testing::Test {
 protected:
  void connect(const FaultPlan& faults) {
    source_ = std::make_unique<LoopbackTransport>(network_, LoopbackOptions{.faults = faults});
    destination_ = std::make_unique<LoopbackTransport>(network_);
    local_ = source_->register_memory(from_, RemoteAccess::kNone).value();
    remote_ = destination_->register_memory(to_, RemoteAccess::kWrite).value();
    test::ConnectedEndpoints ends =
        test::connect_endpoints(*source_, *destination_, "host:0", LaneTicket{{}, 0});
    source_end_ = std::move(ends.source);
    destination_end_ = std::move(ends.destination);
  }

  Result<size_t> write(uint64_t tag) {
    const TransferOp op{local_.get(), 0, remote_->describe(), 0, kBytes, tag};
    return source_end_->post_writes({&op, 1}, SourceMemory::kLive);
  }

  std::vector<std::byte> from_ = std::vector<std::byte>(kBytes, std::byte{1});
  std::vector<std::byte> to_ = std::vector<std::byte>(kBytes);
  LoopbackNetwork network_;
  std::unique_ptr<LoopbackTransport> source_;
  std::unique_ptr<LoopbackTransport> destination_;
  std::unique_ptr<MemoryRegion> local_;
  std::unique_ptr<MemoryRegion> remote_;
  std::unique_ptr<Endpoint> source_end_;
  std::unique_ptr<Endpoint> destination_end_;
};

TEST_F(LoopbackFaults, TornPagesAreWrongAndAllOthersAreRight) {
  connect({.seed = 1, .torn_per_mille = 1000});
  std::array<Completion, 1> completions;

  ASSERT_EQ(write(7).value(), 1U);
  ASSERT_EQ(source_end_->poll(completions, deadline_in(seconds(20))).value(), 1U);

  ASSERT_EQ(completions[0].status, OpStatus::kTorn);
  for (uint32_t page = 0; page < kPages; ++page) {
    const auto start = to_.begin() + page * static_cast<ptrdiff_t>(kBasePageBytes);
    const bool right = std::equal(start, start + kBasePageBytes, from_.begin());
    EXPECT_NE(right, (completions[0].torn_pages >> page & 1) == 1);
  }
}

TEST_F(LoopbackFaults, DelayedCompletionsOvertakeEachOther) {
  connect({.seed = 3, .delayed_per_mille = 500});
  std::vector<uint64_t> order;
  std::array<Completion, 8> completions;

  for (uint64_t tag = 0; tag < 100; ++tag) ASSERT_EQ(write(tag).value(), 1U);
  while (order.size() < 100) {
    const size_t count = source_end_->poll(completions, deadline_in(seconds(20))).value();
    for (size_t i = 0; i < count; ++i) order.push_back(completions[i].tag);
  }

  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  for (uint64_t tag = 0; tag < 100; ++tag) EXPECT_EQ(order[tag], tag);
}

TEST_F(LoopbackFaults, ADisconnectFlushesThatOperationAndThoseAfterIt) {
  connect({.disconnect_at_operation = 2});
  std::array<Completion, 8> completions;

  for (uint64_t tag = 0; tag < 4; ++tag) ASSERT_EQ(write(tag).value(), 1U);
  ASSERT_EQ(source_end_->poll(completions, deadline_in(seconds(20))).value(), 4U);
  const auto after = source_end_->poll(completions, deadline_in(seconds(20)));

  EXPECT_EQ(completions[1].status, OpStatus::kOk);
  EXPECT_EQ(completions[2].status, OpStatus::kFlushed);
  EXPECT_EQ(completions[3].status, OpStatus::kFlushed);
  ASSERT_FALSE(after);
  EXPECT_EQ(after.error().code, Errc::kPeerLost);
  std::array<std::byte, 4> message;
  EXPECT_FALSE(destination_end_->receive(message, deadline_in(seconds(20))));
}

TEST_F(LoopbackFaults, ADisconnectAtAMessageLosesItButNotThoseBefore) {
  connect({.disconnect_at_message = 1});
  std::array<std::byte, 4> message{};

  EXPECT_TRUE(source_end_->send(message, deadline_in(seconds(20))));
  EXPECT_FALSE(source_end_->send(message, deadline_in(seconds(20))));

  EXPECT_TRUE(destination_end_->receive(message, deadline_in(seconds(20))));
  EXPECT_FALSE(destination_end_->receive(message, deadline_in(seconds(20))));
}

}  // namespace
}  // namespace godwit
