// SPDX-License-Identifier: Apache-2.0
//
// The report in a few lines for a person, and the exit code that goes with it.
#pragma once

#include <string>

#include "engine/report.h"
#include "engine/session/session_record.h"

namespace godwit::cli {

enum class ExitCode : int {
  kCompleted = 0,
  kFailed = 1,  // the guest runs on the source
  kUsage = 2,
  kInDoubt = 3,
  kRefused = 4,  // nothing was touched
};

ExitCode exit_code_of(MigrationStatus status);

// How a migration ends whose set-up already failed with `error`.
MigrationStatus status_of(const Error& error);

// Ends with a line end. `peer` is the other host.
std::string render_report_text(const MigrationReport& report, SessionRole role,
                               const std::string& peer);

}  // namespace godwit::cli
