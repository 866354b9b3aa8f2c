// SPDX-License-Identifier: Apache-2.0
//
// A synthetic guest that starts on a destination before its memory is there: its vCPUs wait for
// each page, and what they compute in the end shows that each got the right one.
#include "vmm-adapters/synthetic/synthetic_page_faults.h"

#include <gtest/gtest.h>

#include "tests/vmm-adapters/linux/faulting_memory.h"
#include "tests/vmm-adapters/linux/page_server.h"
#include "tests/vmm-adapters/synthetic/synthetic_guests.h"

namespace godwit {
namespace {

TEST(SyntheticPageFaults, BringAWholeGuestOverThatRunsMeanwhile) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const SyntheticOptions options = busy_options(seed);
    auto source = open_source(options);
    auto destination = open_destination(options);
    ASSERT_TRUE(source->pause());
    const std::vector<std::byte> state = saved_state(*source);
    auto faults = destination->page_faults();
    ASSERT_TRUE(faults) << to_string(faults.error());
    ASSERT_TRUE(destination->prepare());
    const Status armed = (*faults)->arm();
    ASSERT_TRUE(armed) << to_string(armed.error());
    test::PageServer server(source->memory(), destination->memory());
    server.start(**faults);

    ASSERT_TRUE(destination->load_state(state, [] {}));
    ASSERT_TRUE(destination->start());
    destination->machine().pause();
    ASSERT_NO_FATAL_FAILURE(advance(destination->machine(), 500));
    server.stop();
    server.receive_the_rest();
    const Status disarmed = (*faults)->disarm();

    ASSERT_TRUE(disarmed) << to_string(disarmed.error());
    ASSERT_NO_FATAL_FAILURE(expect_memory_as_computed(destination->machine()));
    ASSERT_NO_FATAL_FAILURE(advance(destination->machine(), 500));
    ASSERT_NO_FATAL_FAILURE(expect_memory_as_computed(destination->machine()));
    EXPECT_GT(server.present_faults(), 0U) << "stale pages of the destination";
    EXPECT_GT(server.hole_faults(), 0U);
  }
}

class SyntheticPageFaultsTest : public testing::Test {
 protected:
  // A vCPU that touches memory from its first step on.
  SyntheticPageFaultsTest() : guest_(open_destination({.stale_percent = 100})) {}

  std::unique_ptr<SyntheticDestinationGuest> guest_;
};

TEST_F(SyntheticPageFaultsTest, ReportAgainToASuccessorWhatALostAgentTook) {
  auto lost = guest_->page_faults();
  ASSERT_TRUE(lost && (*lost)->arm());
  guest_->machine().run();
  const auto taken = test::next_fault(**lost);
  ASSERT_TRUE(taken);
  lost->reset();

  auto successor = guest_->adopt_page_faults();

  ASSERT_TRUE(successor) << to_string(successor.error());
  EXPECT_EQ(test::next_fault(**successor), taken);
  ASSERT_TRUE((*successor)->disarm());
  guest_->machine().pause();
  EXPECT_GT(total_steps(guest_->machine().state()), 0U);
}

TEST_F(SyntheticPageFaultsTest, LetTheMachineEndWhileItsGuestWaits) {
  auto faults = guest_->page_faults();
  ASSERT_TRUE(faults && (*faults)->arm());
  guest_->machine().run();
  ASSERT_TRUE(test::next_fault(**faults));
  faults->reset();

  guest_.reset();

  SUCCEED() << "its threads have ended";
}

TEST_F(SyntheticPageFaultsTest, AreArmedOnceAtATime) {
  auto first = guest_->page_faults();
  auto second = guest_->page_faults();
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(guest_->adopt_page_faults()) << "nobody armed them yet";
  ASSERT_TRUE((*first)->arm());

  EXPECT_FALSE((*second)->arm());
  ASSERT_TRUE((*first)->disarm());
  EXPECT_TRUE((*second)->arm());
}

TEST(SyntheticPageFaults, CanBeToldToFail) {
  auto guest = open_destination({.failing_operation = SyntheticOperation::kArmPageFaults});
  auto faults = guest->page_faults();
  ASSERT_TRUE(faults);

  EXPECT_FALSE((*faults)->arm());
  EXPECT_TRUE((*faults)->arm()) << "the second call does not fail";
}

}  // namespace
}  // namespace godwit
