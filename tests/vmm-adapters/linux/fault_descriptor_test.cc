// SPDX-License-Identifier: Apache-2.0
//
// Page faults on shared memory: threads of this process touch it through one mapping, as a VMM's
// do, and the test fills and installs pages through another.
#include "vmm-adapters/linux/fault_descriptor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <deque>
#include <future>
#include <optional>
#include <thread>
#include <vector>

#include "engine/base/units.h"
#include "tests/vmm-adapters/linux/faulting_memory.h"

namespace godwit::test {
namespace {

class FaultDescriptorTest : public testing::Test {
 protected:
  void TearDown() override {
    if (!faults_) return;
    EXPECT_TRUE(faults_->unregister_memory());  // lets go whoever still waits
  }

  // The first half of the pages exists, each filled with its number + 1; the others are holes.
  void arm(uint64_t pages = kPages, uint64_t page_size_bytes = kBasePageBytes,
           unsigned memfd_flags = 0, std::vector<pid_t> vcpu_threads = {}) {
    memory_.emplace(pages * page_size_bytes, page_size_bytes, memfd_flags);
    for (uint64_t page = 0; page < pages / 2; ++page) memory_->fill(page);
    Result<UniqueFd> userfaultfd = open_userfaultfd();
    ASSERT_TRUE(userfaultfd) << to_string(userfaultfd.error());
    Status enabled = enable_page_faults(userfaultfd->get());
    ASSERT_TRUE(enabled) << to_string(enabled.error());
    faults_.emplace(std::move(*userfaultfd), memory_->memory(), std::move(vcpu_threads));
    Status registered = faults_->register_memory();
    ASSERT_TRUE(registered) << to_string(registered.error());
    memory_->drop_owner_pages();
  }

  Touch& touch(uint64_t page) { return touches_.emplace_back(memory_->owner_byte(page)); }

  static constexpr uint64_t kPages = 64;
  static constexpr int kPresentPages = kPages / 2;

  std::optional<FaultingMemory> memory_;
  std::optional<FaultDescriptor> faults_;
  std::deque<Touch> touches_;  // the first to go: they read the memory
};

TEST_F(FaultDescriptorTest, ReportsAFaultOnAPresentPageAndInstallsIt) {
  ASSERT_NO_FATAL_FAILURE(arm());
  Touch& waiting = touch(5);

  EXPECT_EQ(next_fault(*faults_), (SeenFault{5, FaultKind::kPresent}));
  EXPECT_FALSE(waiting.done());
  ASSERT_TRUE(faults_->install(0, {5, 1}));

  EXPECT_EQ(waiting.value(), 6);
  EXPECT_EQ(next_fault_now(*faults_), std::nullopt);
}

TEST_F(FaultDescriptorTest, SaysWhichVcpuWaits) {
  std::promise<pid_t> thread;
  std::promise<void> armed;
  std::jthread vcpu([&] {
    thread.set_value(gettid());
    armed.get_future().wait();
    (void)memory_->owner_byte(5).load();
  });
  ASSERT_NO_FATAL_FAILURE(arm(kPages, kBasePageBytes, 0, {1, thread.get_future().get()}));
  PageFault fault{};

  armed.set_value();
  ASSERT_TRUE(wait_readable(*faults_));
  ASSERT_EQ(faults_->read({&fault, 1}), size_t{1});
  EXPECT_EQ(fault.page, 5U);
  EXPECT_EQ(fault.vcpu, 1);
  touch(6);
  ASSERT_TRUE(wait_readable(*faults_));
  ASSERT_EQ(faults_->read({&fault, 1}), size_t{1});
  EXPECT_EQ(fault.page, 6U);
  EXPECT_EQ(fault.vcpu, kNoVcpu);
  EXPECT_TRUE(faults_->install(0, {5, 2}));
}

TEST_F(FaultDescriptorTest, ShowsWhatTheAgentWroteBeforeItInstalled) {
  ASSERT_NO_FATAL_FAILURE(arm());
  Touch& waiting = touch(5);
  ASSERT_TRUE(next_fault(*faults_));

  memory_->agent().write(5, 99);
  ASSERT_TRUE(faults_->install(0, {5, 1}));

  EXPECT_EQ(waiting.value(), 99);
}

TEST_F(FaultDescriptorTest, ReportsAHoleAndMakesItZeroes) {
  ASSERT_NO_FATAL_FAILURE(arm());
  Touch& waiting = touch(40);

  EXPECT_EQ(next_fault(*faults_), (SeenFault{40, FaultKind::kHole}));
  ASSERT_TRUE(faults_->install_zeroes(0, {40, 1}));

  EXPECT_EQ(waiting.value(), 0);
}

TEST_F(FaultDescriptorTest, FillsAHoleWithContent) {
  ASSERT_NO_FATAL_FAILURE(arm());
  Touch& waiting = touch(40);
  ASSERT_TRUE(next_fault(*faults_));

  memory_->fill(40);
  ASSERT_TRUE(faults_->install(0, {40, 1}));

  EXPECT_EQ(waiting.value(), 41);
}

TEST_F(FaultDescriptorTest, ZeroesLeaveTheContentOfPresentPagesAlone) {
  ASSERT_NO_FATAL_FAILURE(arm());

  ASSERT_TRUE(faults_->install_zeroes(0, {kPresentPages - 2, 4}));

  EXPECT_EQ(touch(kPresentPages - 1).value(), kPresentPages);
  EXPECT_EQ(touch(kPresentPages).value(), 0);
}

TEST_F(FaultDescriptorTest, LetsAllThreadsGoOnThatWaitForOnePage) {
  ASSERT_NO_FATAL_FAILURE(arm());
  constexpr size_t kThreads = 8;
  for (size_t i = 0; i < kThreads; ++i) touch(7);
  for (size_t i = 0; i < kThreads; ++i) {
    ASSERT_EQ(next_fault(*faults_), (SeenFault{7, FaultKind::kPresent}));
  }

  ASSERT_TRUE(faults_->install(0, {7, 1}));

  for (Touch& waiting : touches_) EXPECT_EQ(waiting.value(), 8);
}

TEST_F(FaultDescriptorTest, TakesNoMoreFaultsThanAskedFor) {
  ASSERT_NO_FATAL_FAILURE(arm());
  constexpr uint64_t kThreads = 5;
  for (uint64_t page = 0; page < kThreads; ++page) touch(page);

  std::vector<uint64_t> pages;
  while (pages.size() < kThreads) {
    std::array<PageFault, 2> faults;
    ASSERT_TRUE(wait_readable(*faults_));
    Result<size_t> count = faults_->read(faults);
    ASSERT_TRUE(count) << to_string(count.error());
    ASSERT_LE(*count, faults.size());
    for (size_t i = 0; i < *count; ++i) pages.push_back(faults[i].page);
  }

  std::sort(pages.begin(), pages.end());
  EXPECT_EQ(pages, (std::vector<uint64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(*faults_->read({}), 0U);
}

TEST_F(FaultDescriptorTest, InstallsARunOfWhichSomeIsThereAndSomeIsAHole) {
  ASSERT_NO_FATAL_FAILURE(arm());
  memory_->fill(35);
  ASSERT_TRUE(faults_->install(0, {0, 1}));
  ASSERT_TRUE(faults_->install(0, {10, 5}));

  Status installed = faults_->install(0, {0, kPages});

  ASSERT_TRUE(installed) << to_string(installed.error());
  for (int page : {0, 1, 9, 10, 14, 15, 31, 35}) {
    EXPECT_EQ(touch(static_cast<uint64_t>(page)).value(), page + 1) << page;
  }
  touch(34);
  EXPECT_EQ(next_fault(*faults_), (SeenFault{34, FaultKind::kHole}));
}

TEST_F(FaultDescriptorTest, ReportsAFaultAnewThatALostReaderTook) {
  ASSERT_NO_FATAL_FAILURE(arm());
  Touch& waiting = touch(3);
  ASSERT_TRUE(next_fault(*faults_)) << "and nobody answers it";
  ASSERT_EQ(next_fault_now(*faults_), std::nullopt);

  ASSERT_TRUE(faults_->wake_all());

  EXPECT_EQ(next_fault(*faults_), (SeenFault{3, FaultKind::kPresent}));
  EXPECT_FALSE(waiting.done());
  ASSERT_TRUE(faults_->install(0, {3, 1}));
  EXPECT_EQ(waiting.value(), 4);
}

TEST_F(FaultDescriptorTest, WakesOnlyThePagesThatItIsToldTo) {
  ASSERT_NO_FATAL_FAILURE(arm());
  touch(3);
  touch(4);
  ASSERT_TRUE(next_fault(*faults_));
  ASSERT_TRUE(next_fault(*faults_));

  ASSERT_TRUE(faults_->wake(0, {4, 2}));

  EXPECT_EQ(next_fault(*faults_), (SeenFault{4, FaultKind::kPresent}));
  EXPECT_EQ(next_fault_now(*faults_), std::nullopt);
}

TEST_F(FaultDescriptorTest, ReportsAPunchedPageAsAHole) {
  ASSERT_NO_FATAL_FAILURE(arm());
  ASSERT_TRUE(faults_->install(0, {0, kPresentPages}));

  memory_->punch(5);
  Touch& waiting = touch(5);

  EXPECT_EQ(next_fault(*faults_), (SeenFault{5, FaultKind::kHole}));
  ASSERT_TRUE(faults_->install_zeroes(0, {5, 1}));
  EXPECT_EQ(waiting.value(), 0);
}

TEST_F(FaultDescriptorTest, ReportsAFaultAnewWhenItsPageIsPunchedBeforeItIsInstalled) {
  ASSERT_NO_FATAL_FAILURE(arm());
  Touch& waiting = touch(5);
  ASSERT_EQ(next_fault(*faults_), (SeenFault{5, FaultKind::kPresent}));
  memory_->punch(5);

  ASSERT_TRUE(faults_->install(0, {5, 1}));

  EXPECT_EQ(next_fault(*faults_), (SeenFault{5, FaultKind::kHole}));
  ASSERT_TRUE(faults_->install_zeroes(0, {5, 1}));
  EXPECT_EQ(waiting.value(), 0);
}

TEST_F(FaultDescriptorTest, LetsWaitersGoOnWhenTheMemoryIsUnregistered) {
  ASSERT_NO_FATAL_FAILURE(arm());
  touch(3);
  touch(40);
  ASSERT_TRUE(next_fault(*faults_));
  ASSERT_TRUE(next_fault(*faults_));

  ASSERT_TRUE(faults_->unregister_memory());

  EXPECT_EQ(touches_[0].value(), 4);
  EXPECT_EQ(touches_[1].value(), 0);
  EXPECT_EQ(touch(20).value(), 21);
  EXPECT_TRUE(faults_->unregister_memory()) << "again";
}

TEST_F(FaultDescriptorTest, DoesAllOfItWithHugePages) {
  constexpr uint64_t kHugePages = 8;
  if (!huge_pages_available(kHugePages)) {
    GTEST_SKIP() << "fewer than " << kHugePages << " free pages of 2 MiB (vm.nr_hugepages)";
  }
  ASSERT_NO_FATAL_FAILURE(arm(kHugePages, 2 * kMiB, MFD_HUGETLB));
  Touch& present = touch(2);
  ASSERT_EQ(next_fault(*faults_), (SeenFault{2, FaultKind::kPresent}));
  Touch& hole = touch(5);
  ASSERT_EQ(next_fault(*faults_), (SeenFault{5, FaultKind::kHole}));

  ASSERT_TRUE(faults_->install(0, {0, kHugePages}));
  EXPECT_EQ(present.value(), 3);
  EXPECT_EQ(next_fault(*faults_), (SeenFault{5, FaultKind::kHole})) << "left out, reported anew";
  ASSERT_TRUE(faults_->install_zeroes(0, {4, 3}));
  EXPECT_EQ(hole.value(), 0);

  memory_->punch(2);
  Touch& punched = touch(2);
  EXPECT_EQ(next_fault(*faults_), (SeenFault{2, FaultKind::kHole}));
  ASSERT_TRUE(faults_->install_zeroes(0, {2, 1}));
  EXPECT_EQ(punched.value(), 0);
}

TEST_F(FaultDescriptorTest, SaysThatAnotherUserfaultfdHasTheMemory) {
  ASSERT_NO_FATAL_FAILURE(arm());
  Result<UniqueFd> another = open_userfaultfd();
  ASSERT_TRUE(another && enable_page_faults(another->get()));
  FaultDescriptor second(std::move(*another), memory_->memory());

  Status registered = second.register_memory();

  ASSERT_FALSE(registered);
  EXPECT_EQ(registered.error().code, Errc::kGuest);
  EXPECT_TRUE(faults_->register_memory()) << "its own again is no error";
}

TEST_F(FaultDescriptorTest, RefusesPrivateMemory) {
  TestMemory memory(kMiB);
  void* anonymous = mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(anonymous, MAP_FAILED);
  GuestMemory blocks = memory.memory();
  blocks[0].owner_address = reinterpret_cast<uint64_t>(anonymous);
  Result<UniqueFd> userfaultfd = open_userfaultfd();
  ASSERT_TRUE(userfaultfd && enable_page_faults(userfaultfd->get()));
  FaultDescriptor faults(std::move(*userfaultfd), blocks);

  Status registered = faults.register_memory();

  EXPECT_FALSE(registered);
  EXPECT_EQ(registered.error().code, Errc::kRefused);
  munmap(anonymous, kMiB);
}

TEST_F(FaultDescriptorTest, SaysThatMemoryIsNotRegistered) {
  ASSERT_NO_FATAL_FAILURE(arm());
  ASSERT_TRUE(faults_->unregister_memory());

  Status installed = faults_->install(0, {0, 1});

  ASSERT_FALSE(installed);
  EXPECT_EQ(installed.error().code, Errc::kSystem);
}

}  // namespace
}  // namespace godwit::test
