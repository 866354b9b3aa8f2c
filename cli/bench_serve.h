// SPDX-License-Identifier: Apache-2.0
//
// `godwit bench serve`: one bench or matrix after the other, and a word for whoever comes
// meanwhile.
#pragma once

#include "cli/agent_metrics.h"
#include "cli/bench_options.h"
#include "cli/interrupt_watcher.h"
#include "engine/base/result.h"

namespace godwit::cli {

// Returns when interrupted; with --once, when the first bench has ended, with its error. Errors:
// kRefused and others, when this host cannot serve at all.
Status serve_benches(const BenchServeOptions& options, InterruptWatcher& interrupts,
                     BenchMetrics& metrics);

}  // namespace godwit::cli
