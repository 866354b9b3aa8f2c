// SPDX-License-Identifier: Apache-2.0
//
// `godwit bench matrix`: all pairs of many hosts, in one command.
#pragma once

#include "cli/report_text.h"

namespace CLI {
class App;
}

namespace godwit::cli {

// Below `godwit bench`. What it did comes back in `exit_code`.
void add_matrix_command(CLI::App& bench, ExitCode& exit_code);

}  // namespace godwit::cli
