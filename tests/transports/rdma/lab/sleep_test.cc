// SPDX-License-Identifier: Apache-2.0
//
// An owner that waits for a lane's completions and for something else at once.
#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <vector>

#include "engine/base/wake_event.h"
#include "tests/conformance/connected_pair.h"
#include "tests/transports/rdma/lab/lanes.h"

namespace godwit::lab {
namespace {

constexpr uint64_t kReads = 16;

// Reads that take Soft-RoCE many times as long as a lane looks before it sleeps.
struct LongReads {
  ~LongReads() { lane.ends.source->shut_down(); }

  std::vector<TransferOp> operations() const {
    std::vector<TransferOp> made;
    for (uint64_t i = 0; i < kReads; ++i) {
      made.push_back({.local = local.get(),
                      .local_offset_bytes = i * kOperationBytesMax,
                      .remote = remote->describe(),
                      .remote_offset_bytes = i * kOperationBytesMax,
                      .size_bytes = static_cast<uint32_t>(kOperationBytesMax),
                      .tag = i});
    }
    return made;
  }

  // Reads until all have arrived. Returns how often poll() came back with nothing.
  int read_all() {
    const auto operations = this->operations();
    for (size_t posted = 0; posted < kReads;)
      posted += lane.ends.destination->post_reads(std::span(operations).subspan(posted)).value();
    int empty = 0;
    std::array<Completion, kReads> completions;
    for (size_t done = 0; done < kReads;) {
      const size_t count = lane.ends.destination->poll(completions, deadline_in(kTestTime)).value();
      if (count == 0) ++empty;
      done += count;
    }
    return empty;
  }

  Lane lane{RdmaOptions{.device = "rxe1"}};
  conformance::SharedMemory memory{kReads * kOperationBytesMax};
  conformance::SharedMemory other{kReads * kOperationBytesMax};
  std::unique_ptr<MemoryRegion> local =
      lane.destination->register_memory(memory.bytes(), RemoteAccess::kNone).value();
  std::unique_ptr<MemoryRegion> remote =
      lane.source->register_memory(other.bytes(), RemoteAccess::kRead).value();
  // Answers what it is asked for the keys of its memory.
  std::jthread peer{[this] {
    std::array<std::byte, 64> message;
    EXPECT_FALSE(lane.ends.source->receive(message, deadline_in(kTestTime)));
  }};
};

TEST(SleepingLane, WakesForWhatItsOwnerWaitsForAsWell) {
  LongReads reads;
  const WakeEvent event = WakeEvent::make().value();
  ASSERT_TRUE(reads.lane.ends.destination->sleep_with(event.fd()));
  event.raise();

  // On a busy machine all may have arrived before the lane gets to sleep.
  int empty = 0;
  for (const Deadline deadline = deadline_in(kTestTime); empty == 0 && Clock::now() < deadline;)
    empty = reads.read_all();
  EXPECT_GT(empty, 0);
}

TEST(SleepingLane, WakesForCompletions) {
  LongReads reads;
  const WakeEvent event = WakeEvent::make().value();
  ASSERT_TRUE(reads.lane.ends.destination->sleep_with(event.fd()));

  EXPECT_EQ(reads.read_all(), 0);
}

TEST(SleepingLane, ForgetsWhatItsOwnerDoesNotWaitForAnyMore) {
  LongReads reads;
  const WakeEvent event = WakeEvent::make().value();
  ASSERT_TRUE(reads.lane.ends.destination->sleep_with(event.fd()));
  ASSERT_TRUE(reads.lane.ends.destination->sleep_with(-1));
  event.raise();

  EXPECT_EQ(reads.read_all(), 0);
}

}  // namespace
}  // namespace godwit::lab
