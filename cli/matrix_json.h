// SPDX-License-Identifier: Apache-2.0
//
// What a matrix found, for programs. docs/bench.md documents both forms.
#pragma once

#include <string>

#include "cli/matrix_measure.h"

namespace godwit::cli {

// Rises when a field changes its meaning or goes; new ones may come at any time.
inline constexpr int kMatrixSchema = 1;

std::string render_matrix_json(const MatrixOutcome& outcome);

// One line for each direction, after one with the names. What a direction does not have is empty.
std::string render_matrix_csv(const MatrixOutcome& outcome);

}  // namespace godwit::cli
