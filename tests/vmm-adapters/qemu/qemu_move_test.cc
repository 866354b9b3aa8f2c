// SPDX-License-Identifier: Apache-2.0
//
// A guest that goes from one real QEMU to another, its memory copied by the test in between.
#include <gtest/gtest.h>

#include <ostream>

#include "engine/base/units.h"
#include "tests/vmm-adapters/qemu/boot_guest.h"
#include "vmm-adapters/qemu/qemu_destination_guest.h"
#include "vmm-adapters/qemu/qemu_source_guest.h"

namespace godwit::test {
namespace {

struct Versions {
  std::string source;
  std::string destination;

  friend void PrintTo(const Versions& versions, std::ostream* stream) {
    *stream << versions.source << " to " << versions.destination;
  }
};

std::vector<Versions> available_pairs() {
  std::vector<Versions> pairs;
  for (const std::string& source : available_qemus()) {
    for (const std::string& destination : available_qemus()) {
      bool older = source == "10.0" && destination == "7.2";
      if (!older) pairs.push_back({source, destination});
    }
  }
  return pairs;
}

class QemuMoveTest : public testing::TestWithParam<Versions> {
 protected:
  void start(Backing backing, const BootGuest& boot, uint64_t size_mib = 64) {
    arguments_ = std::make_unique<GuestArguments>(boot, backing, size_mib);
    source_qemu_ = std::make_unique<QemuProcess>(GetParam().source, arguments_->make());
    destination_qemu_ =
        std::make_unique<QemuProcess>(GetParam().destination, arguments_->make_incoming());
    auto source = QemuSourceGuest::open(source_qemu_->options());
    ASSERT_TRUE(source) << to_string(source.error());
    source_ = std::move(*source);
    auto destination = QemuDestinationGuest::open(destination_qemu_->options());
    ASSERT_TRUE(destination) << to_string(destination.error());
    destination_ = std::move(*destination);
    ASSERT_TRUE(wait_for_heartbeat(source_->memory()[0]));
  }

  std::vector<std::byte> pause_and_save() {
    Clock::time_point begin = Clock::now();
    Status paused = source_->pause();
    EXPECT_TRUE(paused) << to_string(paused.error());
    Clock::time_point stopped = Clock::now();
    std::vector<std::byte> state;
    Status saved = source_->save_state([&](std::span<const std::byte> piece) -> Status {
      state.insert(state.end(), piece.begin(), piece.end());
      return {};
    });
    EXPECT_TRUE(saved) << to_string(saved.error());
    record("pause_ms", stopped - begin);
    record("save_state_ms", Clock::now() - stopped);
    RecordProperty("state_bytes", std::to_string(state.size()));
    return state;
  }

  static void record(const std::string& name, Clock::duration duration) {
    RecordProperty(name, fmt::format("{:.2f}", to_milliseconds(duration)));
  }

  std::unique_ptr<GuestArguments> arguments_;
  std::unique_ptr<QemuProcess> source_qemu_;
  std::unique_ptr<QemuProcess> destination_qemu_;
  std::unique_ptr<QemuSourceGuest> source_;
  std::unique_ptr<QemuDestinationGuest> destination_;
};

std::string name_of(const testing::TestParamInfo<Versions>& parameter) {
  auto name = [](const std::string& version) { return version == "7.2" ? "7Point2" : "10Point0"; };
  return fmt::format("From{}To{}", name(parameter.param.source), name(parameter.param.destination));
}

INSTANTIATE_TEST_SUITE_P(Qemu, QemuMoveTest, testing::ValuesIn(available_pairs()), name_of);

TEST_P(QemuMoveTest, RunsOnAtTheDestinationWithItsMemoryRight) {
  BootGuest boot{.dirty_end = 17U << 20};
  start(Backing::kFile, boot);
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_TRUE(destination_->check_compatible(source_->identity()));
  ASSERT_TRUE(destination_->prepare());

  std::vector<std::byte> state = pause_and_save();
  copy_memory(source_->memory(), destination_->memory());
  Clock::time_point begin = Clock::now();
  Status loaded = destination_->load_state(state, [] {});
  record("load_state_ms", Clock::now() - begin);
  ASSERT_TRUE(loaded) << to_string(loaded.error());
  EXPECT_EQ(destination_qemu_->run_state(), "paused");
  ASSERT_TRUE(source_->release());
  uint32_t stopped_at = heartbeat(destination_->memory()[0]);
  Status started = destination_->start();

  ASSERT_TRUE(started) << to_string(started.error());
  EXPECT_TRUE(wait_for_heartbeat(destination_->memory()[0], stopped_at + 10'000));
  destination_qemu_->command("stop");
  EXPECT_EQ(boot.count_wrong_words(destination_->memory()[0]), 0U);
  EXPECT_EQ(source_qemu_->run_state(), "postmigrate");
}

TEST_P(QemuMoveTest, RunsOnAtTheSourceWhenItIsCalledOffAfterLoading) {
  start(Backing::kFile, BootGuest{});
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_TRUE(destination_->prepare());
  std::vector<std::byte> state = pause_and_save();
  copy_memory(source_->memory(), destination_->memory());
  ASSERT_TRUE(destination_->load_state(state, [] {}));

  uint32_t stopped_at = heartbeat(source_->memory()[0]);
  Status resumed = source_->resume();
  ASSERT_TRUE(destination_->abandon());

  ASSERT_TRUE(resumed) << to_string(resumed.error());
  EXPECT_TRUE(wait_for_heartbeat(source_->memory()[0], stopped_at));
  EXPECT_EQ(source_qemu_->run_state(), "running");
}

TEST_P(QemuMoveTest, LeavesAWaitingDestinationAloneUntilItIsPrepared) {
  start(Backing::kFile, BootGuest{});
  ASSERT_FALSE(HasFatalFailure());

  ASSERT_TRUE(destination_->abandon());

  EXPECT_EQ(destination_qemu_->run_state(), "inmigrate");
}

TEST_P(QemuMoveTest, SaysThatACutStateDoesNotLoad) {
  start(Backing::kFile, BootGuest{});
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_TRUE(destination_->prepare());
  std::vector<std::byte> state = pause_and_save();
  copy_memory(source_->memory(), destination_->memory());

  state.resize(state.size() / 2);
  Status loaded = destination_->load_state(state, [] {});

  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Errc::kGuest);
  EXPECT_TRUE(destination_->abandon());
  uint32_t stopped_at = heartbeat(source_->memory()[0]);
  ASSERT_TRUE(source_->resume());
  EXPECT_TRUE(wait_for_heartbeat(source_->memory()[0], stopped_at));
}

TEST_P(QemuMoveTest, MovesAnIdleGuestOfOneGibibyteQuickly) {
  start(Backing::kFile, BootGuest{}, 1024);
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_TRUE(destination_->prepare());

  std::vector<std::byte> state = pause_and_save();
  copy_memory(source_->memory(), destination_->memory());
  Clock::time_point begin = Clock::now();
  ASSERT_TRUE(destination_->load_state(state, [] {}));
  record("load_state_ms", Clock::now() - begin);
  begin = Clock::now();
  ASSERT_TRUE(destination_->start());
  record("start_ms", Clock::now() - begin);

  EXPECT_LT(state.size(), 4 * kMiB);
}

}  // namespace
}  // namespace godwit::test
