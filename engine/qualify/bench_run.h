// SPDX-License-Identifier: Apache-2.0
//
// A whole bench: goes through the plan, cell by cell, and collects what was found.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/qualify/bench_report.h"
#include "engine/qualify/bench_session.h"
#include "engine/qualify/fault_latency.h"
#include "engine/qualify/sweep_plan.h"

namespace godwit::qualify {

// Thread: one.
class BenchRun {
 public:
  // Told before each cell: what is measured, "write bandwidth, 64 KiB", and how much is done.
  struct Step {
    std::string what;
    size_t done;
    size_t total;
  };
  using OnStep = std::function<void(const Step&)>;

  // The session is open and outlives this. These of its paths are used: all, but those of the last
  // resort where there are others.
  // `make_fault_view` null: faults are left out.
  struct Means {
    BenchSession& session;
    std::vector<size_t> paths;
    MakeFaultView make_fault_view = nullptr;
    OnStep on_step = nullptr;
  };
  BenchRun(Means means, BenchOptions options);

  // The results alone: paths and findings are the caller's.
  Result<BenchReport> run();

 private:
  Status measure_bandwidths(const std::vector<Cell>& cells, const StopRule& rule);
  Status measure_latencies(const std::vector<Cell>& cells, const StopRule& rule);
  // Lanes for the cell: those that there are, if they fit.
  Status connect_for(const Cell& cell);
  LaneSet lane_set_of(const Cell& cell) const;
  Status measure_registration();
  Result<LatencyResult> measure_latency_of_cell(const Cell& cell, const StopRule& rule);
  Result<LatencyResult> measure_faults(const Cell& cell, const StopRule& rule);
  Result<Bandwidth> measure_with_cpu(const Cell& cell, const StopRule& rule);
  void tell(const std::string& what);
  BenchSession& session() const { return means_.session; }

  const Means means_;
  const BenchOptions options_;
  BenchReport report_;
  std::optional<LaneSet> connected_;
  std::vector<BenchLane> lanes_;
  size_t steps_done_ = 0;
  size_t steps_total_ = 0;
};

}  // namespace godwit::qualify
