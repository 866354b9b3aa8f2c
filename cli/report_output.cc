// SPDX-License-Identifier: Apache-2.0
#include "cli/report_output.h"

#include "cli/console.h"
#include "cli/report_json.h"
#include "cli/report_page.h"

namespace godwit::cli {

Result<ReportOutput> ReportOutput::open(const AgentOptions& options) {
  ReportOutput output;
  ASSIGN_OR_RETURN(output.json_, OutputFile::open(options.json));
  ASSIGN_OR_RETURN(output.page_, OutputFile::open(options.page));
  return output;
}

ExitCode ReportOutput::write(const Outcome& outcome) {
  std::string text = render_report_text(outcome.report, outcome.role, outcome.peer);
  bool completed = outcome.report.status == MigrationStatus::kCompleted;
  if (completed && !json_.is_stdout() && !page_.is_stdout()) {
    write_stdout(text);
  } else {
    write_stderr(text);
  }
  if (json_.wanted() || page_.wanted()) {
    const std::string document = render_report_json(outcome.report, outcome.role);
    json_.write(document);
    if (page_.wanted()) page_.write(render_own_page(document));
  }
  return exit_code_of(outcome.report.status);
}

}  // namespace godwit::cli
