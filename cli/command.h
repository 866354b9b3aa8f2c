// SPDX-License-Identifier: Apache-2.0
//
// One function per command: adds it to the parser, with what it does. What it did comes back in
// `exit_code`.
#pragma once

#include "cli/report_text.h"

namespace CLI {
class App;
}

namespace godwit::cli {

void add_send_command(CLI::App& app, ExitCode& exit_code);
void add_receive_command(CLI::App& app, ExitCode& exit_code);
void add_relay_command(CLI::App& app, ExitCode& exit_code);
void add_bench_command(CLI::App& app, ExitCode& exit_code);
void add_status_command(CLI::App& app, ExitCode& exit_code);
void add_cancel_command(CLI::App& app, ExitCode& exit_code);
void add_resume_command(CLI::App& app, ExitCode& exit_code);
void add_probe_command(CLI::App& app, ExitCode& exit_code);
void add_report_command(CLI::App& app, ExitCode& exit_code);
void add_keygen_command(CLI::App& app, ExitCode& exit_code);
void add_completion_command(CLI::App& app, ExitCode& exit_code);

}  // namespace godwit::cli
