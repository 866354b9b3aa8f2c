// SPDX-License-Identifier: Apache-2.0
//
// Where the report of a migration goes: the summary for people, and the JSON if it was asked for.
#pragma once

#include <string>

#include "cli/output_file.h"
#include "cli/report_text.h"
#include "engine/base/result.h"

namespace godwit::cli {

class ReportOutput {
 public:
  // Opens the file of --json before anything is done (output_file.h). Errors: kRefused.
  static Result<ReportOutput> open(const std::string& json_path);

  struct Outcome {
    const MigrationReport& report;
    SessionRole role;
    std::string peer;
  };
  // The summary goes to stdout, or to stderr where stdout has the JSON.
  ExitCode write(const Outcome& outcome);

 private:
  OutputFile json_;
};

}  // namespace godwit::cli
