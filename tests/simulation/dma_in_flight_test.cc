// SPDX-License-Identifier: Apache-2.0
//
// The trap of device DMA in flight, with its negative control: the same migrations with the guest
// standing still for the scans, and without. With, no page may be lost; without, some must be, or
// this shows nothing.
#include <gtest/gtest.h>

#include "tests/simulation/simulated_migration.h"

namespace godwit {
namespace {

constexpr uint64_t kSeeds = 60;

// A guest that does nothing but read its disk at high queue depth, moved over a good link.
SimulationPlan disk_reading_guest(uint64_t seed, Quiescing quiescing) {
  SimulationPlan plan;
  plan.seed = seed;
  plan.source_guest.seed = seed;
  plan.source_guest.blocks = {{.name = "ram", .size_bytes = kMiB}};
  plan.source_guest.virtual_cpus = 0;
  plan.source_guest.discard_weight = 0;
  plan.source_guest.dma_queue_depth = 64;
  plan.source_guest.dma_steps_per_second = 60'000;
  plan.destination_guest = plan.source_guest;
  plan.source.session = "0123456789abcdef";
  plan.source.lanes = 1;
  plan.source.limits.rounds_max = 4;
  plan.source.limits.downtime_s_max = 10;
  plan.source.quiescing = quiescing;
  return plan;
}

uint64_t wrong_migrations(Quiescing quiescing) {
  uint64_t wrong = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const SimulationPlan plan = disk_reading_guest(seed, quiescing);
    const SimulationOutcome outcome = simulate(plan);
    EXPECT_TRUE(outcome.destination_started) << describe(plan);
    if (!outcome.memory_equal_at_start) ++wrong;
  }
  return wrong;
}

TEST(DmaInFlight, LosesNothingWhenTheGuestStandsStillForTheScans) {
  EXPECT_EQ(wrong_migrations(Quiescing::kOn), 0U);
}

TEST(DmaInFlight, IsLostWithoutQuiescedScans) {
  const uint64_t wrong = wrong_migrations(Quiescing::kOff);

  RecordProperty("wrong_of_60", static_cast<int>(wrong));
  EXPECT_GT(wrong, 0U) << "the test above shows nothing";
}

// The proof that users get: --verify must see it, and leave the guest at the source.
TEST(DmaInFlight, IsCaughtByVerificationWhereItIsLost) {
  uint64_t caught = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SimulationPlan plan = disk_reading_guest(seed, Quiescing::kOff);
    plan.source.verification = Verification::kOn;
    const SimulationOutcome outcome = simulate(plan);
    for (const std::string& promise : outcome.broken_promises)
      ASSERT_EQ(promise.find("lost memory"), std::string::npos) << describe(plan) << promise;
    if (outcome.source.verify && outcome.source.verify->mismatches > 0) ++caught;
  }
  EXPECT_GT(caught, 0U);
}

}  // namespace
}  // namespace godwit
