// SPDX-License-Identifier: Apache-2.0
//
// Where the report of a migration goes: the summary for people, and the JSON if it was asked for.
#pragma once

#include <string>

#include "cli/report_text.h"
#include "engine/base/result.h"
#include "engine/base/unique_fd.h"

namespace godwit::cli {

class ReportOutput {
 public:
  // Opens the file of --json (empty: none, "-": stdout) before anything is done, because afterwards
  // it is too late to find that it cannot be written. Errors: kRefused.
  static Result<ReportOutput> open(const std::string& json_path);

  struct Outcome {
    const MigrationReport& report;
    SessionRole role;
    std::string peer;
  };
  // The summary goes to stdout, or to stderr where stdout has the JSON.
  ExitCode write(const Outcome& outcome);

 private:
  std::string json_path_;
  UniqueFd json_file_;
};

}  // namespace godwit::cli
