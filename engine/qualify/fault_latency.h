// SPDX-License-Identifier: Apache-2.0
//
// How long somebody waits who touches memory that is at the other end: a real page fault, served by
// a one-sided read, as in post-copy. From the touch to the next instruction.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "engine/base/result.h"
#include "engine/memory/guest_memory.h"
#include "engine/migration/interruption.h"
#include "engine/page_faults.h"
#include "engine/qualify/bench_report.h"
#include "engine/qualify/bench_session.h"
#include "engine/qualify/statistics.h"

namespace godwit::qualify {

// A second mapping of a bench's memory, whose first touches are faults.
struct FaultView {
  std::unique_ptr<PageFaults> faults;  // armed
  std::span<std::byte> bytes;          // as long as `faults` lives
};
// Errors: kRefused and kSystem, where this process may not do it.
using MakeFaultView = std::function<Result<FaultView>(const GuestMemory& memory)>;

// One page after the other, in no order, of the lane's part of the memory. `view` is of the memory
// that the lane's region is of.
Result<Latency> measure_fault_latency(BenchLane& lane, FaultView& view, const StopRule& rule,
                                      const Interruption& interruption);

}  // namespace godwit::qualify
