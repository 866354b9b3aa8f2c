// SPDX-License-Identifier: Apache-2.0
//
// What can happen next. The rules are the protocol's as they are meant (engine/migration,
// engine/postcopy), one atomic step each; the destination's pages go through the real PageLedger.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tests/model/state.h"

namespace godwit::model {

// Mistakes that can be built into the rules, to see that they are found.
enum class Bug : uint8_t {
  kNone,
  kMarksBeforeArrival,
  kInstallsBeforeMarking,
  kNoWakeAfterGiveBack,
  kNoWakeAfterResume,
  kForgetsReceivedOnResume,
  kGivesBackBeforeClosing,
  kResendsBeforeClosing,
  kRoundsOverlap,
  kDoesNotDrainPrecopy,
  kMissingSetBeforeLastScan,
  kDisarmsWhilePagesAreMissing,
  kSourceResumesAfterCommit,
  kCommitToldBeforeWritten,
  kStartsBeforeCommit,
  kDecisionNotRepeated,
};

struct Rules {
  uint8_t pages = 2;
  uint8_t source_writes = 2;
  uint8_t failures = 2;
  Bug bug = Bug::kNone;
};

enum class Kind : uint8_t {
  kProgress,  // will happen in time, if nothing else does
  kFailure,   // may happen, and need not
};

struct Action {
  const char* what;
  uint8_t page = kPagesMax;  // kPagesMax = about no page
  uint8_t lane = kLanes;     // kLanes = about no lane
  Kind kind = Kind::kProgress;
};
std::string to_string(const Action& action);

using Emit = std::function<void(const State& next, const Action& action)>;

State initial_state(const Rules& rules);

// An end: all of the guest is on the destination, or it runs on the source and nowhere else ever.
bool is_final(const State& state);

// Broken in the state itself, whatever led there.
Violation broken_invariant(const State& state);

// Calls `emit` for every step that is possible. A step that breaks a promise says so in
// State::violation.
void for_each_step(const State& now, const Rules& rules, const Emit& emit);

}  // namespace godwit::model
