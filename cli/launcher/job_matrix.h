// SPDX-License-Identifier: Apache-2.0
//
// `godwit bench matrix` as one process of a job: every one serves, and the first one coordinates as
// well.
#pragma once

#include <optional>

#include "cli/interrupt_watcher.h"
#include "cli/launcher/job.h"
#include "cli/matrix_measure.h"
#include "cli/matrix_options.h"

namespace godwit::cli {

// Nothing, where another process has the outcome. Errors: those of this process alone; of the first
// one, those of coordinate_matrix().
Result<std::optional<MatrixOutcome>> measure_in_job(Job& job, const MatrixCliOptions& options,
                                                    InterruptWatcher& interrupts);

}  // namespace godwit::cli
