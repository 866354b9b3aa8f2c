// SPDX-License-Identifier: Apache-2.0
//
// The coordinating end of `godwit bench matrix`: connects to all hosts, has them measure each
// other, and says what stands out.
#pragma once

#include <string>
#include <vector>

#include "cli/interrupt_watcher.h"
#include "cli/matrix_options.h"
#include "engine/base/result.h"
#include "engine/qualify/matrix_analysis.h"
#include "engine/qualify/matrix_report.h"

namespace godwit::cli {

struct MatrixOutcome {
  qualify::MatrixReport report;
  std::vector<qualify::MatrixFinding> findings;
  qualify::MatrixOptions options;
  std::string launcher;  // "PMIx"; empty: hosts were named
  std::string security;  // of the control connections
};

// A host that serves, or why it does not.
struct ServingHost {
  std::string name;
  std::vector<std::string> addresses;  // "HOST:PORT"
  std::string lost;                    // empty: it serves
};

// Those of --hosts. Errors: kRefused, when one is no address or comes twice.
Result<std::vector<ServingHost>> named_hosts(const MatrixCliOptions& options);

// Hosts that cannot be reached are in the report. Errors: kRefused, when fewer than two take part;
// kCancelled.
Result<MatrixOutcome> coordinate_matrix(const MatrixCliOptions& options,
                                        const std::vector<ServingHost>& hosts,
                                        InterruptWatcher& interrupts);

}  // namespace godwit::cli
