// SPDX-License-Identifier: Apache-2.0
//
// How a bench's latencies are distributed, drawn with letters for a terminal.
#pragma once

#include <string>

#include "engine/qualify/bench_report.h"

namespace godwit::cli {

// Of each verb's smallest transfers, the first result: a row for each share, and in it where each
// one's latency is on a logarithmic scale. Empty without latencies. Ends with a line end.
std::string render_latency_plot(const qualify::BenchReport& report);

}  // namespace godwit::cli
