// SPDX-License-Identifier: Apache-2.0
//
// Carries out a plan: both sides of a migration in this process, over loopback, each in its own
// thread; and judges what came of it. The promises, whatever went wrong:
//
//   - The guest never runs on both sides.
//   - Whoever says "completed" is right; a source that says "failed" has the guest running with its
//     memory as it should be, and no tracking left on it.
//   - A guest that starts at the destination has every byte and the device state of the paused
//     source, and goes on exactly where it was.
//   - The decision was written down on both sides before it took effect.
#pragma once

#include <string>
#include <vector>

#include "engine/report.h"
#include "tests/simulation/simulation_plan.h"

namespace godwit {

struct SimulationOutcome {
  MigrationReport source;
  MigrationReport destination;
  bool cancel_was_asked = false;  // the state that the plan cancels in was entered
  bool destination_started = false;
  bool memory_equal_at_start = false;        // only with destination_started
  std::vector<std::string> broken_promises;  // empty when all is well
};

// Ends the process, naming the plan, when it hangs for a minute.
SimulationOutcome simulate(const SimulationPlan& plan);

}  // namespace godwit
