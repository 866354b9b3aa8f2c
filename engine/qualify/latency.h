// SPDX-License-Identifier: Apache-2.0
//
// One measurement of latency: transfers one at a time, from its post to its completion, when it
// lies in the other end's memory (or here, for a read); messages there and back, half of the time.
#pragma once

#include <functional>

#include "engine/base/result.h"
#include "engine/migration/interruption.h"
#include "engine/qualify/bench_report.h"
#include "engine/qualify/bench_session.h"
#include "engine/qualify/statistics.h"

namespace godwit::qualify {

// Of the cell: verb and size. The median is what has to be precise.
Result<Latency> measure_latency(BenchLane& lane, const Cell& cell, const StopRule& rule,
                                const Interruption& interruption);

// Any one thing, done again and again: `one` does it and returns how long it took.
Result<Latency> measure_latency_of(const std::function<Result<Clock::duration>()>& one,
                                   const StopRule& rule, const Interruption& interruption);

}  // namespace godwit::qualify
