// SPDX-License-Identifier: Apache-2.0
//
// `godwit bench HOST`: from the connection to the numbers.
#pragma once

#include <string>

#include "cli/bench_options.h"
#include "cli/interrupt_watcher.h"
#include "engine/base/result.h"
#include "engine/qualify/bench_report.h"

namespace godwit::cli {

struct BenchOutcome {
  qualify::BenchReport report;
  std::string peer;      // "HOST:PORT"
  std::string security;  // of the control connection
  std::string note;      // why RDMA was not measured, where it could have been; else empty
};

Result<BenchOutcome> measure_interconnect(const BenchCliOptions& options,
                                          InterruptWatcher& interrupts);

}  // namespace godwit::cli
