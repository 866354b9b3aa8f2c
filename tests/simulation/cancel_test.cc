// SPDX-License-Identifier: Apache-2.0
//
// The operator changes their mind, in every state of both state machines. What is to come of it is
// answered by a switch without a default: a new state does not compile until it has its test here.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/base/check.h"
#include "tests/simulation/simulated_migration.h"
#include "tests/simulation/watchdog.h"

namespace godwit {
namespace {

constexpr uint64_t kPlans = 4;  // different guests, options and links for each state
constexpr auto kSimulationMax = seconds(60);

// How a migration has to end that is cancelled in a state.
enum class End : uint8_t {
  kStaysAtSource = 1,  // in time
  kMoves,              // too late: somebody else may own the guest already
  kFails,              // the state is entered only by a migration that has failed
  kInDoubt,            // the same for one that is in doubt
  kNone,               // not a state
};

End end_of_cancel_in(SourceState state) {
  switch (state) {
    case SourceState::kConnecting:
    case SourceState::kNegotiating:
    case SourceState::kConnectingLanes:
    case SourceState::kArming:
    case SourceState::kPrecopy:
    case SourceState::kPausing:
    case SourceState::kFinalMemory:
    case SourceState::kSavingState:
    case SourceState::kVerifying:
    case SourceState::kAwaitingReady:
      return End::kStaysAtSource;
    case SourceState::kCommitted:
    case SourceState::kCompleted:
      return End::kMoves;
    case SourceState::kFailed:
      return End::kFails;
    case SourceState::kInDoubt:
      return End::kInDoubt;
    case SourceState::kEnd:
      return End::kNone;
  }
  CHECK(false && "a state outside its enumerators");
}

End end_of_cancel_in(DestinationState state) {
  switch (state) {
    case DestinationState::kWaiting:
    case DestinationState::kNegotiating:
    case DestinationState::kAcceptingLanes:
    case DestinationState::kReceiving:
    case DestinationState::kVerifying:
    case DestinationState::kLoadingState:
      return End::kStaysAtSource;
    case DestinationState::kReady:  // the decision is the source's
    case DestinationState::kCommitted:
    case DestinationState::kRunning:
      return End::kMoves;
    case DestinationState::kFailed:
      return End::kFails;
    case DestinationState::kInDoubt:
      return End::kInDoubt;
    case DestinationState::kEnd:
      return End::kNone;
  }
  CHECK(false && "a state outside its enumerators");
}

std::string text_of(const MigrationReport& report) {
  return report.error ? to_string(*report.error) : "no error";
}

void expect_end(End end, const MigrationReport& canceller, const SimulationOutcome& outcome) {
  switch (end) {
    case End::kStaysAtSource:
      EXPECT_FALSE(outcome.destination_started);
      EXPECT_EQ(canceller.status, MigrationStatus::kCancelled) << text_of(canceller);
      break;
    case End::kMoves:
      EXPECT_TRUE(outcome.destination_started);
      EXPECT_EQ(outcome.source.status, MigrationStatus::kCompleted) << text_of(outcome.source);
      EXPECT_EQ(outcome.destination.status, MigrationStatus::kCompleted);
      break;
    case End::kFails:
      EXPECT_FALSE(outcome.destination_started);
      EXPECT_EQ(canceller.status, MigrationStatus::kFailed) << text_of(canceller);
      break;
    case End::kInDoubt:
      EXPECT_EQ(canceller.status, MigrationStatus::kInDoubt) << text_of(canceller);
      break;
    case End::kNone:
      break;
  }
}

// What makes a migration end as `end` without any cancel.
void break_for(End end, SimulationPlan& plan) {
  if (end == End::kFails) {
    plan.source_guest.failing_operation = SyntheticOperation::kSaveState;
    plan.source_guest.failing_call = 0;
  }
}

// Plans in which nothing goes wrong of itself, and which pass through every state on the way.
std::vector<SimulationPlan> plain_plans() {
  std::vector<SimulationPlan> plans;
  for (uint64_t seed = 1; plans.size() < kPlans; ++seed) {
    SimulationPlan plan = plan_from_seed(seed);
    if (plan.fault != SimulatedFault::kNone) continue;
    plan.source.limits.downtime_s_max = 10;
    plan.source.verification = Verification::kOn;
    plans.push_back(plan);
  }
  return plans;
}

// Plans whose control connection breaks so that `side` never learns how it ended.
std::vector<SimulationPlan> plans_in_doubt(MigrationReport SimulationOutcome::*side) {
  std::vector<SimulationPlan> plans;
  for (uint64_t seed = 1; plans.size() < kPlans; ++seed) {
    const SimulationPlan plan = plan_from_seed(seed);
    if (plan.fault != SimulatedFault::kControlCut) continue;
    if ((simulate(plan).*side).status == MigrationStatus::kInDoubt) plans.push_back(plan);
  }
  return plans;
}

struct AtSource {
  using State = SourceState;
  static constexpr auto kReport = &SimulationOutcome::source;
  static void cancel_in(State state, SimulationPlan& plan) {
    plan.fault = SimulatedFault::kSourceCancel;
    plan.cancel_source_in = state;
  }
};

struct AtDestination {
  using State = DestinationState;
  static constexpr auto kReport = &SimulationOutcome::destination;
  static void cancel_in(State state, SimulationPlan& plan) {
    plan.fault = SimulatedFault::kDestinationCancel;
    plan.cancel_destination_in = state;
  }
};

template <typename Side>
void cancel_in(typename Side::State state) {
  const End end = end_of_cancel_in(state);
  for (SimulationPlan plan : end == End::kInDoubt ? plans_in_doubt(Side::kReport) : plain_plans()) {
    break_for(end, plan);
    Side::cancel_in(state, plan);
    SCOPED_TRACE(describe(plan));
    const Watchdog watchdog(describe(plan), kSimulationMax);

    const SimulationOutcome outcome = simulate(plan);

    EXPECT_TRUE(outcome.cancel_was_asked);
    expect_end(end, outcome.*Side::kReport, outcome);
    for (const std::string& promise : outcome.broken_promises) ADD_FAILURE() << promise;
  }
}

template <typename State>
std::vector<State> all_states() {
  std::vector<State> states;
  for (uint8_t state = 1; state < static_cast<uint8_t>(State::kEnd); ++state)
    states.push_back(static_cast<State>(state));
  return states;
}

template <typename State>
std::string name_of(const testing::TestParamInfo<State>& info) {
  std::string name = to_string(info.param);
  std::erase(name, '-');
  return name;
}

class CancelAtSource : public testing::TestWithParam<SourceState> {};
TEST_P(CancelAtSource, EndsAsTheStateSays) {
  cancel_in<AtSource>(GetParam());
}
INSTANTIATE_TEST_SUITE_P(EveryState, CancelAtSource, testing::ValuesIn(all_states<SourceState>()),
                         name_of<SourceState>);

class CancelAtDestination : public testing::TestWithParam<DestinationState> {};
TEST_P(CancelAtDestination, EndsAsTheStateSays) {
  cancel_in<AtDestination>(GetParam());
}
INSTANTIATE_TEST_SUITE_P(EveryState, CancelAtDestination,
                         testing::ValuesIn(all_states<DestinationState>()),
                         name_of<DestinationState>);

}  // namespace
}  // namespace godwit
