// SPDX-License-Identifier: Apache-2.0
//
// Conformance of every transport: what is written and read arrives, whole, where it belongs, and
// every operation completes once.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <random>
#include <vector>

#include "tests/conformance/connected_pair.h"
#include "tests/support/same_bytes.h"

namespace godwit::conformance {
namespace {

constexpr size_t kMemoryBytes = 16 * kMiB;
constexpr uint64_t kPages = kMemoryBytes / kBasePageBytes;

class TransportTransfer : public testing::TestWithParam<TransportKind> {
 protected:
  TransportTransfer()
      : transports_(GetParam().make()), endpoints_(connect_pair(GetParam(), transports_)) {
    source_memory_.fill_randomly(1);
    local_ =
        transports_.source->register_memory(source_memory_.bytes(), RemoteAccess::kNone).value();
    remote_ = transports_.destination
                  ->register_memory(destination_memory_.bytes(), RemoteAccess::kReadWrite)
                  .value();
  }

  TransferOp op(uint64_t local_offset, uint64_t remote_offset, uint64_t size, uint64_t tag) const {
    return {.local = local_.get(),
            .local_offset_bytes = local_offset,
            .remote = remote_->describe(),
            .remote_offset_bytes = remote_offset,
            .size_bytes = static_cast<uint32_t>(size),
            .tag = tag};
  }

  bool same_bytes(uint64_t source_offset, uint64_t destination_offset, uint64_t size) {
    return test::same_bytes(source_memory_.bytes().subspan(source_offset, size),
                            destination_memory_.bytes().subspan(destination_offset, size));
  }

  // Pages that go from i to (i * stride) % kPages: no two neighbours stay together.
  std::vector<TransferOp> scattered_pages() const {
    std::vector<TransferOp> ops;
    for (uint64_t page = 0; page < kPages; ++page) {
      ops.push_back(
          op(page * kBasePageBytes, page * 1237 % kPages * kBasePageBytes, kBasePageBytes, page));
    }
    return ops;
  }

  SharedMemory source_memory_{kMemoryBytes};
  SharedMemory destination_memory_{kMemoryBytes};
  TransportPair transports_;
  std::unique_ptr<MemoryRegion> local_;
  std::unique_ptr<MemoryRegion> remote_;
  EndpointPair endpoints_;
};

TEST_P(TransportTransfer, WriteIsVisibleWhenFlushReturns) {
  PassivePeer peer(std::move(endpoints_.destination));
  const TransferOp write = op(4096, 8192, 12345, 1);

  while (endpoints_.source->post_writes({&write, 1}, SourceMemory::kFrozen).value() == 0) {
  }
  ASSERT_TRUE(endpoints_.source->flush(deadline_in(kTestTime)));

  EXPECT_TRUE(same_bytes(4096, 8192, 12345));
  EXPECT_EQ(destination_memory_.bytes()[8192 + 12345], std::byte{0});
}

TEST_P(TransportTransfer, FlushWithNothingPostedReturnsAtOnce) {
  EXPECT_TRUE(endpoints_.source->flush(deadline_in(kTestTime)));
}

TEST_P(TransportTransfer, ScatteredPagesArriveWhereTheyBelong) {
  PassivePeer peer(std::move(endpoints_.destination));
  const std::vector<TransferOp> ops = scattered_pages();

  transfer_all(*endpoints_.source, ops, SourceMemory::kFrozen,
               [](const Completion& completion) { EXPECT_EQ(completion.status, OpStatus::kOk); });

  for (const TransferOp& each : ops) {
    ASSERT_TRUE(same_bytes(each.local_offset_bytes, each.remote_offset_bytes, each.size_bytes));
  }
}

TEST_P(TransportTransfer, EveryOperationOfABatchBeyondTheQueueCompletesOnce) {
  PassivePeer peer(std::move(endpoints_.destination));
  const size_t count = 3 * size_t{transports_.source->capabilities().operations_in_flight_max} + 1;
  std::vector<TransferOp> ops;
  for (size_t i = 0; i < count; ++i) ops.push_back(op(i % 1000, i * 37 % 9000, 5, i));
  std::vector<int> completions(count);

  transfer_all(*endpoints_.source, ops, SourceMemory::kFrozen,
               [&](const Completion& completion) { ++completions[completion.tag]; });

  EXPECT_TRUE(std::ranges::all_of(completions, [](int times) { return times == 1; }));
}

TEST_P(TransportTransfer, ReadsBringThePeersMemory) {
  destination_memory_.fill_randomly(99);
  PassivePeer peer(std::move(endpoints_.destination));
  std::vector<TransferOp> ops = scattered_pages();
  std::array<Completion, 64> completions;

  size_t posted = 0;
  for (size_t completed = 0; completed < ops.size();) {
    posted += endpoints_.source->post_reads(std::span(ops).subspan(posted)).value();
    const size_t count = endpoints_.source->poll(completions, deadline_in(kTestTime)).value();
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(completions[i].status, OpStatus::kOk);
    completed += count;
  }

  for (const TransferOp& each : ops) {
    ASSERT_TRUE(same_bytes(each.local_offset_bytes, each.remote_offset_bytes, each.size_bytes));
  }
}

TEST_P(TransportTransfer, AReadSeesTheWritePostedBeforeIt) {
  PassivePeer peer(std::move(endpoints_.destination));
  const TransferOp write = op(0, 0, 256 * kKiB, 1);
  const TransferOp read = op(1 * kMiB, 0, 256 * kKiB, 2);
  std::array<Completion, 2> completions;

  size_t posted = 0;
  while (posted == 0) {
    posted = endpoints_.source->post_writes({&write, 1}, SourceMemory::kFrozen).value();
  }
  while (posted == 1) posted += endpoints_.source->post_reads({&read, 1}).value();
  for (size_t completed = 0; completed < 2;) {
    completed += endpoints_.source->poll(completions, deadline_in(kTestTime)).value();
  }

  EXPECT_TRUE(test::same_bytes(source_memory_.bytes().subspan(0, 256 * kKiB),
                               source_memory_.bytes().subspan(1 * kMiB, 256 * kKiB)));
}

TEST_P(TransportTransfer, RandomTransfersAreByteExact) {
  PassivePeer peer(std::move(endpoints_.destination));
  std::mt19937_64 random(20);
  std::vector<TransferOp> ops;
  std::vector<std::byte> expected(kMemoryBytes);
  // Any offset, any length, one after another in the destination with gaps between.
  for (uint64_t at = random() % 5000; at < kMemoryBytes - kOperationBytesMax;) {
    const uint64_t size = 1 + random() % (random() % 2 == 0 ? 6000 : kOperationBytesMax);
    const uint64_t from = random() % 3 == 0 ? at : random() % (kMemoryBytes - size);
    ops.push_back(op(from, at, size, ops.size()));
    std::ranges::copy(source_memory_.bytes().subspan(from, size),
                      expected.begin() + static_cast<ptrdiff_t>(at));
    at += size + (random() % 2 == 0 ? 0 : random() % 9000);
  }

  transfer_all(*endpoints_.source, ops, SourceMemory::kFrozen,
               [](const Completion& completion) { EXPECT_EQ(completion.status, OpStatus::kOk); });

  EXPECT_TRUE(test::same_bytes(expected, destination_memory_.bytes()));
}

// Writes all of `memory` to `remote` again and again, 64 MiB in total.
void write_much(Endpoint& endpoint, const MemoryRegion& memory, const RemoteRegion& remote) {
  std::vector<TransferOp> ops;
  for (uint64_t at = 0; at < kMemoryBytes; at += kOperationBytesMax) {
    ops.push_back({&memory, at, remote, at, static_cast<uint32_t>(kOperationBytesMax), at});
  }
  for (int round = 0; round < 4; ++round) {
    transfer_all(endpoint, ops, SourceMemory::kFrozen,
                 [](const Completion& completion) { EXPECT_EQ(completion.status, OpStatus::kOk); });
  }
}

TEST_P(TransportTransfer, BothSidesWriteAtOnce) {
  SharedMemory back_from(kMemoryBytes);
  SharedMemory back_to(kMemoryBytes);
  back_from.fill_randomly(5);
  auto back_local =
      transports_.destination->register_memory(back_from.bytes(), RemoteAccess::kNone).value();
  auto back_remote =
      transports_.source->register_memory(back_to.bytes(), RemoteAccess::kWrite).value();
  const std::byte done{1};
  std::array<std::byte, 1> message;

  // Each is served until the other has said that it is done.
  std::jthread destination([&] {
    write_much(*endpoints_.destination, *back_local, back_remote->describe());
    EXPECT_TRUE(endpoints_.destination->send({&done, 1}, deadline_in(kTestTime)));
    EXPECT_TRUE(endpoints_.destination->receive(message, deadline_in(kTestTime)));
  });
  std::array<std::byte, 1> answer;
  write_much(*endpoints_.source, *local_, remote_->describe());
  EXPECT_TRUE(endpoints_.source->send({&done, 1}, deadline_in(kTestTime)));
  EXPECT_TRUE(endpoints_.source->receive(answer, deadline_in(kTestTime)));
  destination.join();

  EXPECT_TRUE(test::same_bytes(source_memory_.bytes(), destination_memory_.bytes()));
  EXPECT_TRUE(test::same_bytes(back_from.bytes(), back_to.bytes()));
}

INSTANTIATE_TEST_SUITE_P(All, TransportTransfer, testing::ValuesIn(all_transport_kinds()),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace godwit::conformance
