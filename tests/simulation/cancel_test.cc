// SPDX-License-Identifier: Apache-2.0
//
// The operator changes their mind, in every state of both state machines. What is to come of it is
// answered by a switch without a default: a new state does not compile until it has its test here.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/base/check.h"
#include "tests/simulation/simulated_migration.h"

namespace godwit {
namespace {

constexpr uint64_t kPlans = 4;  // different guests, options and links for each state
constexpr uint64_t kSeedsMax = 2000;

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
    case SourceState::kPostCopy:
    case SourceState::kReconnecting:
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
    case DestinationState::kPostCopy:
    case DestinationState::kReconnecting:
    case DestinationState::kCompleted:
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

// Whether a plan can get to a state in which a cancel ends like that.
bool leads_to(End end, SimulationPlan& plan) {
  if (end == End::kInDoubt) return plan.fault == SimulatedFault::kControlCut;
  if (plan.fault != SimulatedFault::kNone) return false;
  plan.source.limits.downtime_s_max = 10;
  plan.source.verification = Verification::kOn;  // so that it passes through every state
  if (end == End::kFails) plan.source_guest.failing_operation = SyntheticOperation::kSaveState;
  return true;
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

// What a migration enters only with post-copy.
enum class Phase : uint8_t { kAny = 1, kPostCopy = 2, kReconnecting = 3 };

Phase phase_of(SourceState state) {
  if (state == SourceState::kReconnecting) return Phase::kReconnecting;
  return state == SourceState::kPostCopy ? Phase::kPostCopy : Phase::kAny;
}

Phase phase_of(DestinationState state) {
  if (state == DestinationState::kReconnecting) return Phase::kReconnecting;
  return state == DestinationState::kPostCopy || state == DestinationState::kCompleted
             ? Phase::kPostCopy
             : Phase::kAny;
}

// Whether a plan with post-copy can get to such a state. Reconnecting takes a connection that is
// lost after the hand-over; nobody gives up waiting for the next.
bool leads_to(Phase phase, SimulationPlan& plan) {
  plan.source.limits.downtime_s_max = 0.001;
  return plan.fault ==
         (phase == Phase::kPostCopy ? SimulatedFault::kNone : SimulatedFault::kControlCut);
}

template <typename Side>
void cancel_in(typename Side::State state) {
  const End end = end_of_cancel_in(state);
  uint64_t asked = 0;
  for (uint64_t seed = 1; asked < kPlans; ++seed) {
    ASSERT_LE(seed, kSeedsMax) << "this state is hardly ever entered";
    const Phase phase = phase_of(state);
    SimulationPlan plan =
        phase == Phase::kAny ? plan_from_seed(seed) : post_copy_plan_from_seed(seed);
    if (phase == Phase::kAny ? !leads_to(end, plan) : !leads_to(phase, plan)) continue;
    Side::cancel_in(state, plan);
    SCOPED_TRACE(describe(plan));

    const SimulationOutcome outcome = simulate(plan);

    for (const std::string& promise : outcome.broken_promises) ADD_FAILURE() << promise;
    // Where a connection breaks is drawn: most of these plans end before anybody is in doubt.
    if (!outcome.cancel_was_asked && (end == End::kInDoubt || phase != Phase::kAny)) continue;
    EXPECT_TRUE(outcome.cancel_was_asked);
    if (phase == Phase::kReconnecting && outcome.source.status == MigrationStatus::kFailed) {
      // The connection was lost before the source decided: it has the guest, and does not come.
      EXPECT_FALSE(outcome.destination_started);
      EXPECT_EQ(outcome.destination.status, MigrationStatus::kInDoubt);
      ++asked;
      continue;
    }
    expect_end(end, outcome.*Side::kReport, outcome);
    ++asked;
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
