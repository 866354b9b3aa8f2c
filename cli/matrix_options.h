// SPDX-License-Identifier: Apache-2.0
//
// What `godwit bench matrix` is told on its command line.
#pragma once

#include <string>
#include <vector>

#include "cli/agent_options.h"
#include "engine/base/result.h"
#include "engine/qualify/matrix_run.h"

namespace godwit::cli {

struct MatrixCliOptions {
  AgentOptions agent;
  std::vector<std::string> hosts;  // HOST or HOST:PORT; empty: the job that a launcher started
  std::string interface;           // of a job: where its hosts listen; empty: everywhere
  std::string time = "1s";         // of one direction
  uint32_t lanes = 0;              // 0: as this host has CPUs, at most four
  std::string memory = "64MiB";
  std::string csv;
};

// Errors: kRefused, when the numbers do not fit each other.
Result<qualify::MatrixOptions> to_matrix_options(const MatrixCliOptions& options);

}  // namespace godwit::cli
