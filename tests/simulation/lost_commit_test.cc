// SPDX-License-Identifier: Apache-2.0
//
// The hand-over in post-copy when there is nothing left to fetch: all pages are there before the
// commit is, so that only the commit says that the guest may run. It is lost, and everything else
// is, one message after the other.
#include <gtest/gtest.h>

#include "tests/simulation/simulated_migration.h"

namespace godwit {
namespace {

constexpr uint64_t kMessages = 14;  // more than either side sends until the guest runs

// A guest without a page, that only gives pages back.
SimulationPlan empty_guest() {
  SimulationPlan plan;
  plan.seed = 1;
  plan.fault = SimulatedFault::kControlCut;
  plan.source_guest.blocks = {{.name = "ram", .size_bytes = kMiB}};
  plan.source_guest.hole_percent = 100;
  plan.source_guest.steps_per_second = 2000;
  plan.source_guest.word_weight = 0;
  plan.source_guest.page_weight = 0;
  plan.source_guest.zero_weight = 0;
  plan.source_guest.read_weight = 0;
  plan.source_guest.discard_weight = 1;
  plan.destination_guest = plan.source_guest;
  plan.source.session = "0123456789abcdef";
  plan.source.lanes = 1;
  plan.source.post_copy = PostCopy::kNow;
  plan.source.peer_timeout = plan.destination.peer_timeout = seconds(4);  // that is waited for
  return plan;
}

void lose_each_message(std::optional<ControlCut> ControlFaultPlan::*sender) {
  uint64_t moved = 0;
  for (uint64_t message = 1; message <= kMessages; ++message) {
    for (const auto when : {ControlCut::When::kBeforeMessage, ControlCut::When::kLosingMessage,
                            ControlCut::When::kAfterMessage}) {
      SimulationPlan plan = empty_guest();
      plan.control.*sender = ControlCut{.message = message, .when = when};
      SCOPED_TRACE(testing::Message()
                   << "message " << message << ", lost in way " << static_cast<int>(when));
      const SimulationOutcome outcome = simulate(plan);
      for (const std::string& promise : outcome.broken_promises) ADD_FAILURE() << promise;
      if (outcome.destination_started) ++moved;
    }
  }
  EXPECT_GT(moved, 0U);
}

TEST(LostCommit, WhateverTheSourceSaysIsLost) {
  lose_each_message(&ControlFaultPlan::from_first);
}

TEST(LostCommit, WhateverTheDestinationSaysIsLost) {
  lose_each_message(&ControlFaultPlan::from_second);
}

}  // namespace
}  // namespace godwit
