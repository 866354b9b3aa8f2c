// SPDX-License-Identifier: Apache-2.0
#include "cli/report_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "cli/console.h"
#include "cli/report_json.h"

namespace godwit::cli {
namespace {

Status write_file(const UniqueFd& file, std::string_view text) {
  while (!text.empty()) {
    ssize_t written = ::write(file.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno(errno, "write the report");
    text.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

}  // namespace

Result<ReportOutput> ReportOutput::open(const std::string& json_path) {
  ReportOutput output;
  output.json_path_ = json_path;
  if (json_path.empty() || json_path == "-") return output;
  output.json_file_ =
      UniqueFd(::open(json_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!output.json_file_.valid()) {
    Error error = fail_errno(errno, "open {} for the report", json_path).value();
    error.code = Errc::kRefused;
    return tl::unexpected<Error>(error);
  }
  return output;
}

ExitCode ReportOutput::write(const Outcome& outcome) {
  std::string text = render_report_text(outcome.report, outcome.role, outcome.peer);
  bool completed = outcome.report.status == MigrationStatus::kCompleted;
  if (completed && json_path_ != "-") {
    write_stdout(text);
  } else {
    write_stderr(text);
  }
  if (json_path_ == "-") write_stdout(render_report_json(outcome.report, outcome.role));
  if (json_file_.valid()) {
    Status written = write_file(json_file_, render_report_json(outcome.report, outcome.role));
    if (!written) say(to_string(written.error()));
  }
  return exit_code_of(outcome.report.status);
}

}  // namespace godwit::cli
