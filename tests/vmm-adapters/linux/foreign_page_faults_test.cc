// SPDX-License-Identifier: Apache-2.0
//
// Page faults of another process, armed from outside: those of its threads, and those that the
// kernel has on its behalf, in whatever way it touches memory.
#include "vmm-adapters/linux/foreign_page_faults.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>

#include "engine/base/units.h"
#include "tests/vmm-adapters/linux/faulting_memory.h"
#include "tests/vmm-adapters/linux/system_calling_process.h"
#include "vmm-adapters/linux/foreign_userfaultfd.h"

namespace godwit::test {
namespace {

constexpr int kAgentByte = 0x17;
constexpr uint64_t kPresentPage = 3;
constexpr uint64_t kHolePage = 40;

class ForeignPageFaultsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (Status access = probe_process_access(process_.pid()); !access) {
      GTEST_SKIP() << to_string(access.error());
    }
    // The child is a fork: its memory lies at the same address as ours.
    blocks_[0].owner = process_.pid();
    blocks_[0].owner_address = reinterpret_cast<uint64_t>(memory_.bytes().data());
    faults_.emplace(blocks_);
    const Status armed = faults_->arm();
    ASSERT_TRUE(armed) << to_string(armed.error());
  }

  std::span<std::byte> page(uint64_t number) {
    return memory_.bytes().subspan(number * kBasePageBytes, kBasePageBytes);
  }

  uint64_t userfaultfds() const {
    return find_descriptors(process_.pid(), kUserfaultfdName)->size();
  }

  // Written before the process begins, so that it has the page in its page tables.
  TestMemory memory_ = [] {
    TestMemory memory(kMiB);
    memory.write(kPresentPage, 1);
    return memory;
  }();
  SystemCallingProcess process_{memory_, "."};
  GuestMemory blocks_ = memory_.memory();
  std::optional<ForeignPageFaults> faults_;
};

struct KernelTouch {
  const char* name;
  Operation operation;

  friend void PrintTo(const KernelTouch& touch, std::ostream* stream) { *stream << touch.name; }
};

class KernelTouchTest : public ForeignPageFaultsTest,
                        public testing::WithParamInterface<KernelTouch> {
 protected:
  bool into_memory() const {
    const Operation operation = GetParam().operation;
    return operation != Operation::kDirectWrite && operation != Operation::kSend;
  }

  void expect_waits_and_is_right(uint64_t number, FaultKind kind) {
    process_.begin(GetParam().operation, number);
    ASSERT_EQ(next_fault(*faults_), (SeenFault{number, kind}));

    std::ranges::fill(page(number), std::byte{kAgentByte});
    ASSERT_TRUE(faults_->install(0, {number, 1}));

    ASSERT_EQ(process_.result(), static_cast<int64_t>(kTransferBytes));
    const auto all_are = [](std::span<const std::byte> bytes, int value) {
      return std::ranges::all_of(bytes, [&](std::byte byte) { return byte == std::byte(value); });
    };
    if (into_memory()) {
      EXPECT_TRUE(all_are(page(number).first(kTransferBytes), kFileByte)) << "what was read";
      EXPECT_TRUE(all_are(page(number).subspan(kTransferBytes), kAgentByte)) << "what was there";
    } else {
      EXPECT_EQ(process_.written(), std::string(kTransferBytes, kAgentByte));
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Kernel, KernelTouchTest,
                         testing::Values(KernelTouch{"Read", Operation::kRead},
                                         KernelTouch{"DirectRead", Operation::kDirectRead},
                                         KernelTouch{"RingRead", Operation::kRingRead},
                                         KernelTouch{"RingFixedRead", Operation::kRingFixedRead},
                                         KernelTouch{"DirectWrite", Operation::kDirectWrite},
                                         KernelTouch{"Write", Operation::kSend}),
                         [](const auto& parameter) { return parameter.param.name; });

TEST_P(KernelTouchTest, WaitsForAPresentPage) {
  expect_waits_and_is_right(kPresentPage, FaultKind::kPresent);
}

TEST_P(KernelTouchTest, WaitsForAHole) {
  expect_waits_and_is_right(kHolePage, FaultKind::kHole);
}

TEST_P(KernelTouchTest, GoesOnWithAHoleThatBecomesZeroes) {
  process_.begin(GetParam().operation, kHolePage);
  ASSERT_EQ(next_fault(*faults_), (SeenFault{kHolePage, FaultKind::kHole}));

  ASSERT_TRUE(faults_->install_zeroes(0, {kHolePage, 1}));

  EXPECT_EQ(process_.result(), static_cast<int64_t>(kTransferBytes));
}

TEST_F(ForeignPageFaultsTest, LeaveNothingBehind) {
  EXPECT_EQ(userfaultfds(), 1U);
  process_.begin(Operation::kLoad, kPresentPage);
  ASSERT_TRUE(next_fault(*faults_));

  const Status disarmed = faults_->disarm();

  ASSERT_TRUE(disarmed) << to_string(disarmed.error());
  EXPECT_EQ(process_.result(), 1) << "who waited went on";
  EXPECT_EQ(userfaultfds(), 0U);
  process_.begin(Operation::kLoad, kHolePage);
  EXPECT_EQ(process_.result(), 0);
  EXPECT_TRUE(faults_->disarm()) << "again";
}

TEST_F(ForeignPageFaultsTest, AreTakenOverWhileTheOnlyThreadWaits) {
  process_.begin(Operation::kLoad, kPresentPage);
  ASSERT_TRUE(next_fault(*faults_)) << "by an agent that dies with it";
  faults_.reset();

  auto successor = ForeignPageFaults::adopt(blocks_);

  ASSERT_TRUE(successor) << to_string(successor.error());
  ASSERT_EQ(next_fault(**successor), (SeenFault{kPresentPage, FaultKind::kPresent}));
  ASSERT_TRUE((*successor)->install(0, {kPresentPage, 1}));
  EXPECT_EQ(process_.result(), 1);
  EXPECT_TRUE((*successor)->disarm());
  EXPECT_EQ(userfaultfds(), 0U);
}

TEST_F(ForeignPageFaultsTest, SayThatTheProcessIsGone) {
  kill(process_.pid(), SIGKILL);
  waitid(P_PID, static_cast<id_t>(process_.pid()), nullptr, WEXITED | WNOWAIT);

  const Status installed = faults_->install(0, {kPresentPage, 1});
  ASSERT_FALSE(installed);
  // Or it would be taken for the loss of a lane.
  EXPECT_EQ(installed.error().code, Errc::kGuest);
  EXPECT_TRUE(faults_->disarm());
  EXPECT_FALSE(ForeignPageFaults::adopt(blocks_));
}

}  // namespace
}  // namespace godwit::test
