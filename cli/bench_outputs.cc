// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_outputs.h"

#include <CLI/CLI.hpp>

#include "cli/console.h"
#include "cli/report_page.h"

namespace godwit::cli {

void add_bench_output_options(CLI::App& command, AgentOptions& options, std::string& csv) {
  command.add_option("--json", options.json, "Write the results as JSON; - is stdout")
      ->type_name("FILE");
  command.add_option("--csv", csv, "Write the results as CSV; - is stdout")->type_name("FILE");
  command
      .add_option("--report", options.page,
                  "Write the results as a page of HTML (docs/report.md); - is stdout")
      ->type_name("FILE.html");
}

Result<BenchOutputs> BenchOutputs::open(const AgentOptions& options, const std::string& csv) {
  BenchOutputs outputs;
  ASSIGN_OR_RETURN(outputs.json_, OutputFile::open(options.json));
  ASSIGN_OR_RETURN(outputs.csv_, OutputFile::open(csv));
  ASSIGN_OR_RETURN(outputs.page_, OutputFile::open(options.page));
  return outputs;
}

void BenchOutputs::write(const Content& content) const {
  const bool stdout_taken = json_.is_stdout() || csv_.is_stdout() || page_.is_stdout();
  (stdout_taken ? write_stderr : write_stdout)(content.text);
  json_.write(content.json);
  csv_.write(content.csv);
  if (page_.wanted()) page_.write(render_own_page(content.json));
}

}  // namespace godwit::cli
