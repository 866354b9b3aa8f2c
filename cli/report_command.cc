// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/output_file.h"
#include "cli/report_page.h"
#include "cli/run_comparison.h"
#include "cli/run_file.h"

namespace godwit::cli {
namespace {

constexpr size_t kRunsMax = 16;

constexpr char kReportFooter[] =
    "RUN.json is what --json of `godwit bench`, `bench matrix`, `send` or `receive` wrote. With\n"
    "several, each is compared with the first; docs/report.md says how.\n"
    "\n"
    "Examples:\n"
    "  godwit report before.json after.json\n"
    "  godwit report monday.json --report monday.html\n"
    "\n"
    "Exit codes: 0 written; 1 the page could not be written; 2 usage; 4 a file is no run, or they\n"
    "are of two kinds.";

struct ReportSettings {
  std::vector<std::string> files;
  std::string page;
};

// Files' names without their folders, where that tells them from each other.
void shorten_names(std::vector<Run>& runs) {
  std::set<std::string> names;
  for (const Run& run : runs) names.insert(std::filesystem::path(run.name).filename());
  if (names.size() < runs.size()) return;
  for (Run& run : runs) run.name = std::filesystem::path(run.name).filename();
}

Result<std::vector<Run>> read_runs(const std::vector<std::string>& files) {
  std::vector<Run> runs;
  for (const std::string& file : files) {
    ASSIGN_OR_RETURN(Run run, read_run(file));
    if (!runs.empty() && run.kind != runs.front().kind)
      return fail(Errc::kRefused, "{} is a {} and {} a {}: compare runs of one kind",
                  runs.front().name, to_string(runs.front().kind), run.name, to_string(run.kind));
    runs.push_back(std::move(run));
  }
  shorten_names(runs);
  return runs;
}

ExitCode report_runs(const ReportSettings& settings) {
  const Result<std::vector<Run>> runs = read_runs(settings.files);
  if (!runs) {
    say(to_string(runs.error()));
    return ExitCode::kRefused;
  }
  // After the runs were read, one of which it may be by mistake.
  const Result<OutputFile> page = OutputFile::open(settings.page);
  if (!page) {
    say(to_string(page.error()));
    return ExitCode::kRefused;
  }
  const std::string text = render_comparison_text(compare_runs(*runs));
  (page->is_stdout() ? write_stderr : write_stdout)(text);
  if (page->wanted() && !page->write(render_report_page(*runs))) return ExitCode::kFailed;
  return ExitCode::kCompleted;
}

}  // namespace

void add_report_command(CLI::App& app, ExitCode& exit_code) {
  auto settings = std::make_shared<ReportSettings>();  // shared by the parser and the callback
  CLI::App* command = app.add_subcommand("report", "Compare runs, or make a page of one");
  command
      ->add_option("RUN.json", settings->files,
                   "A bench, a matrix or a migration; several to compare")
      ->required()
      ->expected(1, kRunsMax);
  command->add_option("--report", settings->page, "Write them as a page, too; - is stdout")
      ->type_name("FILE.html");
  command->footer(kReportFooter);
  command->callback([settings, &exit_code] { exit_code = report_runs(*settings); });
}

}  // namespace godwit::cli
