// SPDX-License-Identifier: Apache-2.0
//
// One measurement of bandwidth: every lane, driven by a thread of its own as in a migration, keeps
// as many transfers under way as it may, until the mean is known well enough.
#pragma once

#include <span>

#include "engine/base/result.h"
#include "engine/migration/interruption.h"
#include "engine/qualify/bench_report.h"
#include "engine/qualify/bench_session.h"
#include "engine/qualify/statistics.h"

namespace godwit::qualify {

// Of the cell: verb, size and depth. Without Bandwidth::cpu.
Result<Bandwidth> measure_bandwidth(std::span<BenchLane> lanes, const Cell& cell,
                                    const StopRule& rule, const Interruption& interruption);

}  // namespace godwit::qualify
