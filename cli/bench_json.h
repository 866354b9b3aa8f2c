// SPDX-License-Identifier: Apache-2.0
//
// What a bench found, for programs. docs/bench.md documents both forms.
#pragma once

#include <string>

#include "cli/bench_measure.h"

namespace godwit::cli {

// Rises when a field changes its meaning or goes; new ones may come at any time.
inline constexpr int kBenchSchema = 1;

std::string render_bench_json(const BenchOutcome& outcome);

// One line for each result, after one with the names. What a result does not have is empty.
std::string render_bench_csv(const BenchOutcome& outcome);

}  // namespace godwit::cli
