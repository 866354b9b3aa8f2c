// SPDX-License-Identifier: Apache-2.0
//
// A guest that runs on under a real QEMU before its memory is there (post-copy): the test serves
// the pages, from the source's paused memory.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <future>
#include <iterator>
#include <thread>

#include "engine/base/units.h"
#include "tests/vmm-adapters/linux/faulting_memory.h"
#include "tests/vmm-adapters/linux/page_server.h"
#include "tests/vmm-adapters/qemu/moved_pair.h"
#include "vmm-adapters/linux/foreign_page_faults.h"
#include "vmm-adapters/linux/foreign_userfaultfd.h"

namespace godwit::test {
namespace {

class QemuPageFaultsTest : public testing::TestWithParam<std::string> {};

std::string name_of(const testing::TestParamInfo<std::string>& parameter) {
  return parameter.param == "7.2" ? "Version7Point2" : "Version10Point0";
}

INSTANTIATE_TEST_SUITE_P(Qemu, QemuPageFaultsTest, testing::ValuesIn(available_qemus()), name_of);

// Mappings that are registered for minor faults.
uint64_t armed_mappings(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/smaps", pid));
  uint64_t count = 0;
  for (std::string line; std::getline(file, line);) {
    count += line.starts_with("VmFlags:") && (line + " ").find(" ui ") != std::string::npos;
  }
  return count;
}

uint64_t userfaultfds(pid_t pid) {
  Result<std::vector<int>> numbers = find_descriptors(pid, kUserfaultfdName);
  EXPECT_TRUE(numbers) << to_string(numbers.error());
  return numbers ? numbers->size() : 0;
}

template <typename Call>
double milliseconds_of(Call call) {
  const Clock::time_point begin = Clock::now();
  const Status status = call();
  EXPECT_TRUE(status) << to_string(status.error());
  return to_milliseconds(Clock::now() - begin);
}

TEST_P(QemuPageFaultsTest, RunAGuestWhoseMemoryComesLater) {
  BootGuest boot{.dirty_end = 17U << 20};
  MovedPair pair(GetParam(), boot);
  const uint64_t descriptors_before = userfaultfds(pair.destination_qemu().pid());
  Result<std::unique_ptr<PageFaults>> faults = pair.destination().page_faults();
  ASSERT_TRUE(faults) << to_string(faults.error());
  const Status armed = (*faults)->arm();
  ASSERT_TRUE(armed) << to_string(armed.error());
  EXPECT_EQ(armed_mappings(pair.destination_qemu().pid()), 1U);
  ASSERT_TRUE(pair.destination().prepare());

  const std::vector<std::byte> state = pair.pause_and_save();
  PageServer server(pair.source().memory(), pair.destination().memory());
  server.start(**faults);
  RecordProperty(
      "load_ms",
      std::to_string(milliseconds_of([&] { return pair.destination().load_state(state, [] {}); })));
  const uint32_t stopped_at = heartbeat(pair.source().memory()[0]);
  RecordProperty("start_ms",
                 std::to_string(milliseconds_of([&] { return pair.destination().start(); })));
  EXPECT_TRUE(wait_for_heartbeat(pair.destination().memory()[0], stopped_at + 10'000));
  server.stop();
  EXPECT_GT(server.present_faults() + server.hole_faults(), 4000U) << "16 MiB and more";
  server.receive_the_rest();
  const Status disarmed = (*faults)->disarm();

  ASSERT_TRUE(disarmed) << to_string(disarmed.error());
  EXPECT_EQ(armed_mappings(pair.destination_qemu().pid()), 0U);
  EXPECT_EQ(userfaultfds(pair.destination_qemu().pid()), descriptors_before);
  pair.destination_qemu().command("stop");
  EXPECT_EQ(boot.count_wrong_words(pair.destination().memory()[0]), 0U);
}

TEST_P(QemuPageFaultsTest, ServeTheKernelWhenItTouchesMemoryForQemu) {
  const BootGuest boot;
  MovedPair pair(GetParam(), boot);
  Result<std::unique_ptr<PageFaults>> faults = pair.destination().page_faults();
  ASSERT_TRUE(faults && (*faults)->arm());
  ASSERT_TRUE(pair.destination().prepare());
  const std::vector<std::byte> state = pair.pause_and_save();
  PageServer server(pair.source().memory(), pair.destination().memory());
  server.start(**faults);
  ASSERT_TRUE(pair.destination().load_state(state, [] {}));
  ASSERT_TRUE(pair.destination().start());

  // QEMU hands guest memory to write(2) as it lies.
  constexpr uint32_t kBegin = 16U << 20;
  constexpr uint32_t kLength = 8U << 20;
  TestFolder folder;
  pair.destination_qemu().command("dump-guest-memory", {{"paging", false},
                                                        {"protocol", "file:" + folder.path("dump")},
                                                        {"begin", kBegin},
                                                        {"length", kLength}});

  server.stop();
  EXPECT_GE(server.present_faults() + server.hole_faults(), kLength / kBasePageBytes);
  std::ifstream file(folder.path("dump"), std::ios::binary);
  std::string dump{std::istreambuf_iterator<char>(file), {}};
  std::string expected(kLength, '\0');
  for (uint32_t at = 0; at < kLength; at += sizeof(uint32_t)) {
    const uint32_t word = boot.seed + kBegin + at;
    std::memcpy(&expected[at], &word, sizeof(word));
  }
  EXPECT_NE(dump.find(expected), std::string::npos);
}

TEST_P(QemuPageFaultsTest, AreTakenOverByASuccessorOfTheAgent) {
  BootGuest boot{.dirty_end = 47U << 20};  // many pages to wait for
  MovedPair pair(GetParam(), boot);
  Result<std::unique_ptr<PageFaults>> lost = pair.destination().page_faults();
  ASSERT_TRUE(lost && (*lost)->arm());
  ASSERT_TRUE(pair.destination().prepare());
  const std::vector<std::byte> state = pair.pause_and_save();
  PageServer server(pair.source().memory(), pair.destination().memory());
  server.start(**lost);
  ASSERT_TRUE(pair.destination().load_state(state, [] {}));
  ASSERT_TRUE(pair.destination().start());
  server.stop();
  PageFault taken{};
  ASSERT_TRUE(wait_readable(**lost));
  ASSERT_TRUE((*lost)->read({&taken, 1}));
  lost->reset();

  auto successor = ForeignPageFaults::adopt(pair.destination().memory());

  ASSERT_TRUE(successor) << to_string(successor.error());
  const uint32_t waiting_at = heartbeat(pair.destination().memory()[0]);
  server.start(**successor);
  EXPECT_TRUE(wait_for_heartbeat(pair.destination().memory()[0], waiting_at + 10'000));
  server.stop();
  server.receive_the_rest();
  ASSERT_TRUE((*successor)->disarm());
  pair.destination_qemu().command("stop");
  EXPECT_EQ(boot.count_wrong_words(pair.destination().memory()[0]), 0U);
}

TEST_P(QemuPageFaultsTest, AreHadOfAQemuWithoutRights) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can start a QEMU as another user";
  const std::vector<std::string> as_nobody =
      GetParam() == "7.2" ? std::vector<std::string>{"-runas", "nobody"}
                          : std::vector<std::string>{"-run-with", "user=nobody"};
  BootGuest boot{.dirty_end = 2U << 20};
  MovedPair pair(GetParam(), boot, {.destination_arguments = as_nobody});
  const pid_t qemu = pair.destination_qemu().pid();
  const Status unaided = ForeignPageFaults(pair.destination().memory()).arm();
  ASSERT_FALSE(unaided);
  EXPECT_EQ(unaided.error().code, Errc::kRefused) << to_string(unaided.error());
  Result<std::unique_ptr<PageFaults>> faults = pair.destination().page_faults();
  ASSERT_TRUE(faults);

  const Status armed = (*faults)->arm();

  ASSERT_TRUE(armed) << to_string(armed.error());
  EXPECT_TRUE(find_descriptors(qemu, kUserfaultfdDevice)->empty()) << "it was a loan";
  ASSERT_TRUE(pair.destination().prepare());
  const std::vector<std::byte> state = pair.pause_and_save();
  PageServer server(pair.source().memory(), pair.destination().memory());
  server.start(**faults);
  ASSERT_TRUE(pair.destination().load_state(state, [] {}));
  ASSERT_TRUE(pair.destination().start());
  const uint32_t stopped_at = heartbeat(pair.source().memory()[0]);
  EXPECT_TRUE(wait_for_heartbeat(pair.destination().memory()[0], stopped_at + 1000));
  server.stop();
  server.receive_the_rest();
  ASSERT_TRUE((*faults)->disarm());
  EXPECT_EQ(userfaultfds(qemu), 0U);
  pair.destination_qemu().command("stop");
  EXPECT_EQ(boot.count_wrong_words(pair.destination().memory()[0]), 0U);
}

TEST_P(QemuPageFaultsTest, AreArmedAnewOverWhatADeadAgentLeft) {
  MovedPair pair(GetParam(), BootGuest{});
  const pid_t qemu = pair.destination_qemu().pid();
  Result<std::unique_ptr<PageFaults>> lost = pair.destination().page_faults();
  ASSERT_TRUE(lost && (*lost)->arm());
  lost->reset();
  ASSERT_EQ(userfaultfds(qemu), 1U);

  Result<std::unique_ptr<PageFaults>> faults = pair.destination().page_faults();
  ASSERT_TRUE(faults);
  const Status armed = (*faults)->arm();

  ASSERT_TRUE(armed) << to_string(armed.error());
  EXPECT_EQ(userfaultfds(qemu), 1U);
  EXPECT_TRUE((*faults)->disarm());
  EXPECT_EQ(userfaultfds(qemu), 0U);
}

TEST_P(QemuPageFaultsTest, AreTakenOutOfAQemuThatGoesOnWaiting) {
  MovedPair pair(GetParam(), BootGuest{});
  const pid_t qemu = pair.destination_qemu().pid();
  Result<std::unique_ptr<PageFaults>> faults = pair.destination().page_faults();
  ASSERT_TRUE(faults && (*faults)->arm());
  faults->reset();

  pair.close_destination();

  EXPECT_EQ(userfaultfds(qemu), 0U);
  EXPECT_EQ(armed_mappings(qemu), 0U);
  EXPECT_EQ(pair.destination_qemu().run_state(), "inmigrate");
}

TEST_P(QemuPageFaultsTest, DoNotHoldUpAQemuWhoseGuestIsNotToCome) {
  MovedPair pair(GetParam(), BootGuest{});
  Result<std::unique_ptr<PageFaults>> faults = pair.destination().page_faults();
  ASSERT_TRUE(faults && (*faults)->arm());
  ASSERT_TRUE(pair.destination().prepare());
  // Its main thread waits for a page that nobody brings.
  std::future<void> waiting =
      std::async(std::launch::async, [&] { pair.destination_qemu().human("xp /1xw 0x200000"); });
  ASSERT_TRUE(wait_readable(**faults));
  faults->reset();

  const Status abandoned = pair.destination().abandon();

  EXPECT_TRUE(abandoned) << to_string(abandoned.error());
  waiting.get();
  const Deadline deadline = deadline_in(kFaultPatience);
  while (pair.destination_qemu().alive() && Clock::now() < deadline) std::this_thread::yield();
  EXPECT_FALSE(pair.destination_qemu().alive());
}

TEST_P(QemuPageFaultsTest, LetAGuestBeStartedAgainWhenQemuHadToWaitForAPage) {
  MovedPair pair(GetParam(), BootGuest{.dirty_end = 2U << 20},
                 {.destination_timeout = milliseconds(1500)});
  Result<std::unique_ptr<PageFaults>> faults = pair.destination().page_faults();
  ASSERT_TRUE(faults && (*faults)->arm());
  ASSERT_TRUE(pair.destination().prepare());
  const std::vector<std::byte> state = pair.pause_and_save();
  PageServer server(pair.source().memory(), pair.destination().memory());
  server.start(**faults);
  ASSERT_TRUE(pair.destination().load_state(state, [] {}));
  server.stop();
  std::future<void> waiting =
      std::async(std::launch::async, [&] { pair.destination_qemu().human("xp /1xw 0x2000000"); });
  ASSERT_TRUE(wait_readable(**faults));

  const Status first = pair.destination().start();
  server.start(**faults);
  const Status second = pair.destination().start();

  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, Errc::kTimeout) << to_string(first.error());
  EXPECT_TRUE(second) << to_string(second.error());
  waiting.get();
  const uint32_t stopped_at = heartbeat(pair.source().memory()[0]);
  EXPECT_TRUE(wait_for_heartbeat(pair.destination().memory()[0], stopped_at));
}

TEST_P(QemuPageFaultsTest, AreNotTakenOverWhenTheyAreNotArmed) {
  MovedPair pair(GetParam(), BootGuest{});

  auto adopted = ForeignPageFaults::adopt(pair.destination().memory());

  ASSERT_FALSE(adopted);
  EXPECT_EQ(adopted.error().code, Errc::kRefused);
}

TEST_P(QemuPageFaultsTest, ArmAndDisarmAGibibyteQuickly) {
  MovedPair pair(GetParam(), BootGuest{},
                 {.backing = Backing::kFilePreallocated, .size_mib = 1024});
  Result<std::unique_ptr<PageFaults>> faults = pair.destination().page_faults();
  ASSERT_TRUE(faults);

  RecordProperty("arm_ms", std::to_string(milliseconds_of([&] { return (*faults)->arm(); })));
  const PageRun all{0, pair.destination().memory()[0].page_count()};
  RecordProperty("install_ms",
                 std::to_string(milliseconds_of([&] { return (*faults)->install(0, all); })));
  RecordProperty("disarm_ms", std::to_string(milliseconds_of([&] { return (*faults)->disarm(); })));

  EXPECT_EQ(userfaultfds(pair.destination_qemu().pid()), 0U);
}

}  // namespace
}  // namespace godwit::test
