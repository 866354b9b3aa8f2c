// SPDX-License-Identifier: Apache-2.0
//
// Conformance of the transports that checksum payloads: a page that changes on its way is named
// when it was declared live, and ends the connection when it was declared frozen.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "tests/conformance/connected_pair.h"
#include "tests/support/same_bytes.h"

namespace godwit::conformance {
namespace {

constexpr size_t kMemoryBytes = kMiB;
constexpr size_t kOperations = kMemoryBytes / kOperationBytesMax;
constexpr uint64_t kChangedPages = 8;  // the last of the memory; the others stay as they are

// How long a transfer nobody receives is driven on, until the connection holds what it can hold.
constexpr milliseconds kFillTime{50};

class TransportTorn : public testing::TestWithParam<TransportKind> {
 protected:
  TransportTorn() : transports_(GetParam().make()) {
    source_memory_.fill_randomly(1);
    local_ =
        transports_.source->register_memory(source_memory_.bytes(), RemoteAccess::kNone).value();
    remote_ =
        transports_.destination->register_memory(destination_memory_.bytes(), RemoteAccess::kWrite)
            .value();
  }

  // The whole memory, `times` times, beginning with the operation `first` of it.
  std::vector<TransferOp> operations(size_t times, size_t first) {
    std::vector<TransferOp> ops;
    for (size_t i = first; i < first + times * kOperations; ++i) {
      const uint64_t at = i % kOperations * kOperationBytesMax;
      ops.push_back({local_.get(), at, remote_->describe(), at,
                     static_cast<uint32_t>(kOperationBytesMax), i % kOperations});
    }
    return ops;
  }

  // Connects anew and posts more than a connection holds while the peer receives nothing: something
  // is then cut in the middle, its checksums already taken. That may be just where nothing changes,
  // so that the next attempt is to cut elsewhere. Returns how much was accepted.
  size_t start_halfway(size_t attempt, SourceMemory memory) {
    endpoints_ = connect_pair(GetParam(), transports_);
    const size_t times = 2 * GetParam().buffered_bytes_max / kMemoryBytes;
    const std::vector<TransferOp> ops = operations(times, attempt);
    const Result<size_t> accepted = endpoints_.source->post_writes(ops, memory);
    EXPECT_TRUE(accepted);
    EXPECT_EQ(endpoints_.source->poll(completions_, deadline_in(kFillTime)), 0U);
    return accepted.value_or(0);
  }

  void change_memory() {
    const auto changed = source_memory_.bytes().last(kChangedPages * kBasePageBytes);
    for (std::byte& byte : changed) byte ^= std::byte{0xff};
  }

  SharedMemory source_memory_{kMemoryBytes};
  SharedMemory destination_memory_{kMemoryBytes};
  TransportPair transports_;
  std::unique_ptr<MemoryRegion> local_;
  std::unique_ptr<MemoryRegion> remote_;
  EndpointPair endpoints_;
  std::array<Completion, 64> completions_;
};

TEST_P(TransportTorn, PagesThatChangeOnTheirWayAreNamedAndOnlyThey) {
  constexpr uint64_t kPagesThatChange = ((uint64_t{1} << kChangedPages) - 1)
                                        << (kOperationBytesMax / kBasePageBytes - kChangedPages);
  const Deadline deadline = deadline_in(kTestTime);
  uint64_t torn = 0;
  for (size_t attempt = 0; torn == 0 && Clock::now() < deadline; ++attempt) {
    size_t outstanding = start_halfway(attempt, SourceMemory::kLive);
    change_memory();
    PassivePeer peer(std::move(endpoints_.destination));
    while (outstanding > 0) {
      const Result<size_t> count = endpoints_.source->poll(completions_, deadline_in(kTestTime));
      ASSERT_TRUE(count) << to_string(count.error());
      ASSERT_GT(*count, 0U);
      for (size_t i = 0; i < *count; ++i) {
        if (completions_[i].status != OpStatus::kTorn) continue;
        EXPECT_EQ(completions_[i].tag, kOperations - 1);
        torn |= completions_[i].torn_pages;
      }
      outstanding -= *count;
    }

    // Sent again when nobody writes, it is right.
    transfer_all(*endpoints_.source, operations(1, 0), SourceMemory::kFrozen,
                 [](const Completion& completion) { EXPECT_EQ(completion.status, OpStatus::kOk); });
    EXPECT_TRUE(test::same_bytes(source_memory_.bytes(), destination_memory_.bytes()));
  }
  EXPECT_NE(torn, 0U);
  EXPECT_EQ(torn & ~kPagesThatChange, 0U);
}

TEST_P(TransportTorn, FrozenMemoryThatChangesEndsTheConnectionAndBothSidesSayWhy) {
  const Deadline deadline = deadline_in(kTestTime);
  std::optional<Error> source_error;
  Error destination_error{};
  for (size_t attempt = 0; !source_error && Clock::now() < deadline; ++attempt) {
    size_t outstanding = start_halfway(attempt, SourceMemory::kFrozen);
    change_memory();
    std::jthread destination([&] {
      std::array<std::byte, 8> message;
      auto received = endpoints_.destination->receive(message, deadline_in(kTestTime));
      if (!received) destination_error = received.error();
    });
    while (!source_error && outstanding > 0) {
      const Result<size_t> count = endpoints_.source->poll(completions_, deadline_in(kTestTime));
      if (!count) source_error = count.error();
      // Before it says why, an endpoint that has ended gives back what was under way.
      const auto polled = std::span<const Completion>(completions_).first(count.value_or(0));
      outstanding -=
          static_cast<size_t>(std::ranges::count_if(polled, [](const Completion& completion) {
            return completion.status != OpStatus::kFlushed;
          }));
    }
    if (!source_error) endpoints_.destination->shut_down();
  }

  ASSERT_TRUE(source_error);
  EXPECT_EQ(source_error->code, Errc::kCorrupt);
  EXPECT_EQ(destination_error.code, Errc::kCorrupt);
  EXPECT_NE(source_error->text().find("frozen"), std::string_view::npos) << source_error->text();
  EXPECT_NE(destination_error.text().find("offset 0x"), std::string_view::npos)
      << destination_error.text();
}

std::vector<TransportKind> kinds_that_find_torn_pages() {
  std::vector<TransportKind> kinds = all_transport_kinds();
  std::erase_if(kinds, [](const TransportKind& kind) { return !kind.finds_torn_pages; });
  return kinds;
}

INSTANTIATE_TEST_SUITE_P(All, TransportTorn, testing::ValuesIn(kinds_that_find_torn_pages()),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace godwit::conformance
