// SPDX-License-Identifier: Apache-2.0
//
// One simulated migration as plain values: the guest, the options of both sides, and everything
// that goes wrong. A seed makes a plan; the same seed makes the same plan.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/migration/options.h"
#include "engine/migration/states.h"
#include "transports/loopback/fault_plan.h"
#include "transports/loopback/loopback_control_channel.h"
#include "vmm-adapters/synthetic/options.h"

namespace godwit {

// What breaks the migration, if anything does.
enum class SimulatedFault : uint8_t {
  kNone = 1,
  kLaneDisconnect,     // lanes end at one of their operations or messages; new ones work
  kControlCut,         // the control connection ends at one message
  kSourceCancel,       // in the state `cancel_source_in`
  kDestinationCancel,  // in the state `cancel_destination_in`
  kSourceGuest,        // the source's VMM fails an operation
  kDestinationGuest,   // the destination's VMM fails an operation
  kSourceCommitLog,    // the decision cannot be written down
  kDestinationCommitLog,
  kOtherMachine,  // the destination is another machine
  kOtherLayout,   // the destination's RAM has another size
  kNoLaneWorks,   // as kLaneDisconnect, and lanes that come back end, too
  kEnd,           // not a fault
};
const char* to_string(SimulatedFault fault);

struct SimulationPlan {
  uint64_t seed = 0;
  SimulatedFault fault = SimulatedFault::kNone;
  SyntheticOptions source_guest;
  SyntheticOptions destination_guest;
  SourceOptions source;
  DestinationOptions destination;
  FaultPlan source_link;
  FaultPlan destination_link;
  ControlFaultPlan control;  // `first` is the source's end
  // Of the connections that replace a lost one in post-copy, in their order; further ones work.
  std::vector<ControlFaultPlan> reconnections;
  std::optional<SourceState> cancel_source_in;
  std::optional<DestinationState> cancel_destination_in;
};

SimulationPlan plan_from_seed(uint64_t seed);

// The same guest and links, moved with post-copy: at once, or when pre-copy has had two rounds.
// What breaks are lanes and control connections, again and again.
SimulationPlan post_copy_plan_from_seed(uint64_t seed);

// "seed 17: fault kControlCut, 2 blocks of ...", for whoever has to find out what happened.
std::string describe(const SimulationPlan& plan);

}  // namespace godwit
