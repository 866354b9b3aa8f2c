// SPDX-License-Identifier: Apache-2.0
#include "cli/report_output.h"

#include "cli/console.h"
#include "cli/report_json.h"

namespace godwit::cli {

Result<ReportOutput> ReportOutput::open(const std::string& json_path) {
  ReportOutput output;
  ASSIGN_OR_RETURN(output.json_, OutputFile::open(json_path));
  return output;
}

ExitCode ReportOutput::write(const Outcome& outcome) {
  std::string text = render_report_text(outcome.report, outcome.role, outcome.peer);
  bool completed = outcome.report.status == MigrationStatus::kCompleted;
  if (completed && !json_.is_stdout()) {
    write_stdout(text);
  } else {
    write_stderr(text);
  }
  if (json_.wanted()) json_.write(render_report_json(outcome.report, outcome.role));
  return exit_code_of(outcome.report.status);
}

}  // namespace godwit::cli
