// SPDX-License-Identifier: Apache-2.0
//
// Visits every state that the rules can lead to, breadth first, so that what it finds wrong is
// found on a shortest way. Deterministic.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/model/rules.h"

namespace godwit::model {

struct Exploration {
  Violation violation = Violation::kNone;
  std::vector<std::string> trace;  // the steps that lead to it
  uint64_t states = 0;
  uint64_t steps = 0;
  uint64_t final_states = 0;
};

// Ends with the first violation, or when there is nothing new. In the end it checks that from every
// state some final one can be reached without a further failure.
Exploration explore(const Rules& rules);

const char* to_string(Violation violation);

}  // namespace godwit::model
