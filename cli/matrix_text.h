// SPDX-License-Identifier: Apache-2.0
//
// What a matrix found, as tables and sentences for people.
#pragma once

#include <string>
#include <vector>

#include "cli/matrix_measure.h"

namespace godwit::cli {

// Ends with a line end.
std::string render_matrix_text(const MatrixOutcome& outcome);

// "host-a -> host-b: 0.31 GB/s, …"
std::string describe_finding(const qualify::MatrixFinding& finding,
                             const qualify::MatrixReport& report);

// Hosts and directions without numbers, in sentences.
std::vector<std::string> describe_losses(const qualify::MatrixReport& report);

}  // namespace godwit::cli
