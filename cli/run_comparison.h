// SPDX-License-Identifier: Apache-2.0
//
// Runs beside each other: each figure of every run, and how it differs from the first one's.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cli/run_file.h"

namespace godwit::cli {

// What a difference from the first run says. kNone: nothing, or nobody can tell.
enum class Verdict : uint8_t { kNone = 1, kSame = 2, kBetter = 3, kWorse = 4 };
// "", "same", "better", "worse".
const char* to_string(Verdict verdict);

struct ComparedCell {
  std::string text;    // with its unit; "-" where the run does not have it
  std::string change;  // "+12 %", "~" within the noise; empty in the first run, and without numbers
  Verdict verdict = Verdict::kNone;
};

struct ComparedRow {
  std::string name;
  std::vector<ComparedCell> cells;  // one for each run
};

struct Comparison {
  std::vector<std::string> columns;  // the runs' names
  std::vector<ComparedRow> rows;     // those that at least one run has
  std::string note;                  // how sure it is
};

// Requires: runs of one kind, at least one.
Comparison compare_runs(std::span<const Run> runs);

// As a table for a terminal. Ends with a line end.
std::string render_comparison_text(const Comparison& comparison);

}  // namespace godwit::cli
