// SPDX-License-Identifier: Apache-2.0
//
// The death of an agent in the middle of post-copy, with real QEMUs: a child process plays the
// agent and is killed, the test is its successor and knows nothing but what was recorded.
#include "vmm-adapters/qemu/qemu_recovery.h"

#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <future>

#include "engine/base/units.h"
#include "tests/vmm-adapters/linux/page_server.h"
#include "tests/vmm-adapters/linux/tracked_process.h"
#include "tests/vmm-adapters/qemu/boot_guest.h"
#include "vmm-adapters/qemu/qemu_destination_guest.h"
#include "vmm-adapters/qemu/qemu_source_guest.h"

namespace godwit::test {
namespace {

constexpr auto kPatience = seconds(30);
constexpr uint64_t kSizeMib = 64;

// Of a child process, which has no other way to say that something failed.
void must(const Status& status) {
  if (status) return;
  fmt::print(stderr, "agent: {}\n", to_string(status.error()));
  _exit(1);
}
template <typename T>
T must(Result<T> result) {
  must(result ? Status() : Status(tl::unexpected<Error>(result.error())));
  return std::move(*result);
}

Result<bool> never_complete(const GuestMemory& /*memory*/) {
  return false;
}
Result<bool> always_complete(const GuestMemory& /*memory*/) {
  return true;
}

class QemuRecoveryTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    // What the source's agent does; it then goes, as if it had been killed.
    auto source = QemuSourceGuest::open(source_qemu_.options());
    ASSERT_TRUE(source) << to_string(source.error());
    ASSERT_TRUE(wait_for_heartbeat((*source)->memory()[0]));
    ASSERT_TRUE((*source)->pause());
    ASSERT_TRUE((*source)->save_state([&](std::span<const std::byte> piece) -> Status {
      state_.insert(state_.end(), piece.begin(), piece.end());
      return {};
    }));
    stopped_at_ = heartbeat((*source)->memory()[0]);
    source_record_ = (*source)->recovery_record();
    ASSERT_TRUE((*source)->release());
  }

  enum class Start : uint8_t { kTold = 1, kNotTold = 2 };

  // Everything that the destination's agent does, in a process of its own. Never returns.
  void play_agent(Start start, uint64_t pages) const {
    auto source = must(RecoveredQemuSource::open(source_record_));
    auto destination = must(QemuDestinationGuest::open(destination_qemu_.options()));
    auto faults = must(destination->page_faults());
    must(faults->arm());
    must(destination->prepare());
    PageServer server(source->memory(), destination->memory(), received_);
    server.start(*faults, pages);
    must(destination->load_state(state_, [] {}));
    std::ofstream(record_path()) << destination->recovery_record();
    if (start == Start::kTold) must(destination->start());
    const char done = 0;
    CHECK(write(done_[1], &done, 1) == 1);
    while (true) pause();
  }

  // Runs such an agent until it has brought so many pages, and kills it when it has taken notice of
  // a fault that it will not answer.
  void run_and_kill_agent(Start start, uint64_t pages) {
    ASSERT_EQ(pipe(done_), 0);
    ForkedAgent agent([&] { play_agent(start, pages); });
    close(done_[1]);
    char done = 1;
    ASSERT_EQ(read(done_[0], &done, 1), 1) << "the agent failed";
    close(done_[0]);
    const Deadline deadline = deadline_in(kPatience);
    while (start == Start::kTold && received_->count() < pages) {
      ASSERT_LT(Clock::now(), deadline) << "the guest does not touch its memory";
    }
  }

  std::unique_ptr<RecoveredQemuSource> recover_source() const {
    auto source = RecoveredQemuSource::open(source_record_);
    EXPECT_TRUE(source) << to_string(source.error());
    return source ? std::move(*source) : nullptr;
  }

  std::string record_path() const { return folder_.path("record"); }
  std::string destination_record() const {
    std::ifstream file(record_path());
    return {std::istreambuf_iterator<char>(file), {}};
  }

  BootGuest boot_{.dirty_end = 33U << 20};
  GuestArguments arguments_{boot_, Backing::kFile, kSizeMib};
  QemuProcess source_qemu_{GetParam(), arguments_.make()};
  QemuProcess destination_qemu_{GetParam(), arguments_.make_incoming()};
  TestFolder folder_;
  std::vector<std::byte> state_;
  uint32_t stopped_at_ = 0;
  std::string source_record_;
  std::shared_ptr<ReceivedPages> received_ =
      std::make_shared<ReceivedPages>(kSizeMib * kMiB / kBasePageBytes);
  int done_[2] = {-1, -1};
};

std::string name_of(const testing::TestParamInfo<std::string>& parameter) {
  return parameter.param == "7.2" ? "Version7Point2" : "Version10Point0";
}

INSTANTIATE_TEST_SUITE_P(Qemu, QemuRecoveryTest, testing::ValuesIn(available_qemus()), name_of);

TEST_P(QemuRecoveryTest, GoesOnWithAGuestWhoseAgentWasKilled) {
  ASSERT_NO_FATAL_FAILURE(run_and_kill_agent(Start::kTold, 3000));
  std::unique_ptr<RecoveredQemuSource> source = recover_source();
  ASSERT_NE(source, nullptr);
  auto destination = RecoveredQemuDestination::open(destination_record(), never_complete);
  ASSERT_TRUE(destination) << to_string(destination.error());
  PageServer server(source->memory(), (*destination)->memory(), received_);
  server.start((*destination)->page_faults());
  const Status running = (*destination)->ensure_running(deadline_in(kPatience));
  EXPECT_TRUE(running) << to_string(running.error());
  EXPECT_TRUE(wait_for_heartbeat((*destination)->memory()[0], stopped_at_ + 20'000));
  server.stop();
  server.receive_the_rest();
  const Status disarmed = (*destination)->page_faults().disarm();

  EXPECT_TRUE(disarmed) << to_string(disarmed.error());
  destination_qemu_.command("stop");
  EXPECT_EQ(boot_.count_wrong_words((*destination)->memory()[0]), 0U);

  // The next agent finds an ordinary mapping, which is right only when nothing is missing.
  EXPECT_FALSE(RecoveredQemuDestination::open(destination_record(), never_complete));
  auto complete = RecoveredQemuDestination::open(destination_record(), always_complete);
  ASSERT_TRUE(complete) << to_string(complete.error());
  EXPECT_TRUE((*complete)->page_faults().disarm());
}

TEST_P(QemuRecoveryTest, RunsAGuestThatWasNotToldToWhileQemuItselfWaitsForAPage) {
  ASSERT_NO_FATAL_FAILURE(run_and_kill_agent(Start::kNotTold, 1'000'000));
  // The monitor reads guest memory that is not there: QEMU's main thread waits.
  constexpr uint32_t kAddress = 45U << 20;
  std::future<std::string> waiting = std::async(std::launch::async, [&] {
    return destination_qemu_.human(fmt::format("xp /1xw {:#x}", kAddress));
  });

  std::unique_ptr<RecoveredQemuSource> source = recover_source();
  ASSERT_NE(source, nullptr);
  auto destination = RecoveredQemuDestination::open(destination_record(), never_complete);
  ASSERT_TRUE(destination) << to_string(destination.error());
  PageServer server(source->memory(), (*destination)->memory(), received_);
  server.start((*destination)->page_faults());
  const Status running = (*destination)->ensure_running(deadline_in(kPatience));

  ASSERT_TRUE(running) << to_string(running.error());
  EXPECT_NE(waiting.get().find(fmt::format("{:#010x}", boot_.seed + kAddress)), std::string::npos);
  EXPECT_TRUE(wait_for_heartbeat((*destination)->memory()[0], stopped_at_ + 10'000));
  EXPECT_TRUE((*destination)->ensure_running(deadline_in(kPatience))) << "again";
  server.stop();
  server.receive_the_rest();
  ASSERT_TRUE((*destination)->page_faults().disarm());
  destination_qemu_.command("stop");
  EXPECT_EQ(boot_.count_wrong_words((*destination)->memory()[0]), 0U);
}

TEST_P(QemuRecoveryTest, ServesTheMemoryOfASourceThatIsGoneToo) {
  source_qemu_.kill_now();

  std::unique_ptr<RecoveredQemuSource> source = recover_source();

  ASSERT_NE(source, nullptr);
  EXPECT_EQ(boot_.count_wrong_words(source->memory()[0]), 0U);
  EXPECT_EQ(heartbeat(source->memory()[0]), stopped_at_);
}

TEST_P(QemuRecoveryTest, RefusesASourceThatRunsAgain) {
  source_qemu_.command("cont");

  auto source = RecoveredQemuSource::open(source_record_);

  ASSERT_FALSE(source);
  EXPECT_EQ(source.error().code, Errc::kRefused);
}

TEST_P(QemuRecoveryTest, RefusesMemoryThatIsNotWhatWasRecorded) {
  const qemu::RamRecord record = *qemu::parse_ram_record(source_record_);
  auto refusal = [](const qemu::RamRecord& wrong) {
    auto source = RecoveredQemuSource::open(qemu::encode_ram_record(wrong));
    EXPECT_FALSE(source);
    return source ? Errc::kCorrupt : source.error().code;
  };

  qemu::RamRecord wrong = record;
  wrong.blocks[0].file.inode += 1;
  EXPECT_EQ(refusal(wrong), Errc::kRefused);
  wrong = record;
  wrong.blocks[0].owner_address += kBasePageBytes;
  EXPECT_EQ(refusal(wrong), Errc::kRefused);
  wrong = record;
  wrong.blocks[0].size_bytes *= 2;
  EXPECT_EQ(refusal(wrong), Errc::kRefused);
  source_qemu_.kill_now();
  wrong = record;
  wrong.blocks[0].file.inode += 1;
  EXPECT_EQ(refusal(wrong), Errc::kRefused);
  wrong.blocks[0].path += "-gone";
  EXPECT_EQ(refusal(wrong), Errc::kRefused);
}

TEST_P(QemuRecoveryTest, RefusesADestinationThatIsGoneOrNotArmed) {
  ASSERT_NO_FATAL_FAILURE(run_and_kill_agent(Start::kNotTold, 1'000'000));
  qemu::RamRecord another = *qemu::parse_ram_record(destination_record());
  another.vmm.start_ticks -= 1;  // as if the number had been given to a new process

  auto gone = RecoveredQemuDestination::open(qemu::encode_ram_record(another), never_complete);
  auto not_armed = RecoveredQemuDestination::open(source_record_, never_complete);

  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Errc::kRefused);
  ASSERT_FALSE(not_armed);
  EXPECT_EQ(not_armed.error().code, Errc::kRefused);
}

}  // namespace
}  // namespace godwit::test
