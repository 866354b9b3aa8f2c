// SPDX-License-Identifier: Apache-2.0
//
// Conformance of the transports that checksum payloads: a page that changes on its way is named
// when it was declared live, and ends the connection when it was declared frozen.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "tests/conformance/connected_pair.h"
#include "tests/support/same_bytes.h"

namespace godwit::conformance {
namespace {

constexpr size_t kMemoryBytes = 2 * kMiB;
constexpr uint64_t kScribbledPages = 8;  // the first of the memory; the others stay as they are

// Writes to the first pages of a memory, without pause, for as long as it lives.
class Scribbler {
 public:
  explicit Scribbler(std::span<std::byte> bytes)
      : thread_([bytes](const std::stop_token& stop) {
          auto* words = reinterpret_cast<uint64_t*>(bytes.data());
          for (uint64_t value = 1; !stop.stop_requested(); ++value) {
            for (size_t at = 0; at < kScribbledPages * kBasePageBytes / 8; at += 8) {
              std::atomic_ref(words[at]).store(value, std::memory_order_relaxed);
            }
          }
        }) {}

 private:
  std::jthread thread_;
};

class TransportTorn : public testing::TestWithParam<TransportKind> {
 protected:
  TransportTorn()
      : transports_(GetParam().make()), endpoints_(connect_pair(GetParam(), transports_)) {
    source_memory_.fill_randomly(1);
    local_ =
        transports_.source->register_memory(source_memory_.bytes(), RemoteAccess::kNone).value();
    remote_ =
        transports_.destination->register_memory(destination_memory_.bytes(), RemoteAccess::kWrite)
            .value();
    for (uint64_t at = 0; at < kMemoryBytes; at += kOperationBytesMax) {
      ops_.push_back({local_.get(), at, remote_->describe(), at,
                      static_cast<uint32_t>(kOperationBytesMax), at / kOperationBytesMax});
    }
  }

  SharedMemory source_memory_{kMemoryBytes};
  SharedMemory destination_memory_{kMemoryBytes};
  TransportPair transports_;
  std::unique_ptr<MemoryRegion> local_;
  std::unique_ptr<MemoryRegion> remote_;
  EndpointPair endpoints_;
  std::vector<TransferOp> ops_;
};

TEST_P(TransportTorn, PagesThatChangeOnTheirWayAreNamedAndOnlyThey) {
  PassivePeer peer(std::move(endpoints_.destination));
  uint64_t torn = 0;

  {
    Scribbler scribbler(source_memory_.bytes());
    const Deadline deadline = deadline_in(kTestTime);
    while (torn == 0 && Clock::now() < deadline) {
      transfer_all(*endpoints_.source, ops_, SourceMemory::kLive,
                   [&](const Completion& completion) {
                     if (completion.status != OpStatus::kTorn) return;
                     EXPECT_EQ(completion.tag, 0U);
                     torn |= completion.torn_pages;
                   });
    }
  }
  EXPECT_NE(torn, 0U);
  EXPECT_EQ(torn >> kScribbledPages, 0U);

  // Sent again when nobody writes, it is right.
  transfer_all(*endpoints_.source, ops_, SourceMemory::kFrozen,
               [](const Completion& completion) { EXPECT_EQ(completion.status, OpStatus::kOk); });
  EXPECT_TRUE(test::same_bytes(source_memory_.bytes(), destination_memory_.bytes()));
}

TEST_P(TransportTorn, FrozenMemoryThatChangesEndsTheConnectionAndBothSidesSayWhy) {
  Error destination_error{};
  std::jthread destination([&] {
    std::array<std::byte, 8> message;
    auto received = endpoints_.destination->receive(message, deadline_in(kTestTime));
    if (!received) destination_error = received.error();
  });
  Scribbler scribbler(source_memory_.bytes());
  std::array<Completion, 16> completions;
  std::optional<Error> source_error;

  for (const Deadline deadline = deadline_in(kTestTime);
       !source_error && Clock::now() < deadline;) {
    Result<size_t> result = endpoints_.source->post_writes(ops_, SourceMemory::kFrozen);
    if (result) result = endpoints_.source->poll(completions, deadline);
    if (!result) source_error = result.error();
  }
  destination.join();

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
