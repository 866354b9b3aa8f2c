// SPDX-License-Identifier: Apache-2.0
//
// Where the report of a migration goes: the summary for people, and the JSON and the page if
// they were asked for.
#pragma once

#include <string>

#include "cli/agent_options.h"
#include "cli/output_file.h"
#include "cli/report_text.h"
#include "engine/base/result.h"

namespace godwit::cli {

class ReportOutput {
 public:
  // Opens the files of --json and --report before anything is done (output_file.h). Errors:
  // kRefused.
  static Result<ReportOutput> open(const AgentOptions& options);

  struct Outcome {
    const MigrationReport& report;
    SessionRole role;
    std::string peer;
  };
  // The summary goes to stdout, or to stderr where stdout has one of the others.
  ExitCode write(const Outcome& outcome);

 private:
  OutputFile json_;
  OutputFile page_;
};

}  // namespace godwit::cli
