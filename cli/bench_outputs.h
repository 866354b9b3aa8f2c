// SPDX-License-Identifier: Apache-2.0
//
// What `godwit bench` and `godwit bench matrix` leave behind: tables for people, and the files that
// were asked for.
#pragma once

#include <string>
#include <string_view>

#include "cli/agent_options.h"
#include "cli/output_file.h"
#include "engine/base/result.h"

namespace godwit::cli {

// --json, --csv and --report. Ownership: `options` and `csv` outlive the parsing.
void add_bench_output_options(CLI::App& command, AgentOptions& options, std::string& csv);

class BenchOutputs {
 public:
  // Opens the files before anything is done (output_file.h). Errors: kRefused.
  static Result<BenchOutputs> open(const AgentOptions& options, const std::string& csv);

  struct Content {
    std::string_view text;  // goes to stdout, or to stderr where stdout has one of the others
    std::string_view json;  // the page is made of it, too
    std::string_view csv;
  };
  // What cannot be written is said on stderr.
  void write(const Content& content) const;

 private:
  OutputFile json_;
  OutputFile csv_;
  OutputFile page_;
};

}  // namespace godwit::cli
