// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/bench_run.h"

#include <algorithm>
#include <iterator>
#include <thread>
#include <utility>

#include "engine/qualify/bandwidth.h"
#include "engine/qualify/bulk_load.h"
#include "engine/qualify/cpu_clock.h"
#include "engine/qualify/first_touch.h"
#include "engine/qualify/latency.h"

namespace godwit::qualify {
namespace {

// The CPU seconds of all other processes between the two.
double others(const CpuTime& before, const CpuTime& after) {
  return std::max(0.0, (after.machine_s - before.machine_s) - (after.cpu_s - before.cpu_s));
}

}  // namespace

BenchRun::BenchRun(Means means, BenchOptions options)
    : means_(std::move(means)), options_(std::move(options)) {}

Result<BenchReport> BenchRun::run() {
  const Clock::time_point begin = Clock::now();
  Places places{.path_count = means_.paths.size(), .lanes = 1};
  const std::vector<Cell> trials =
      lane_trials(options_, places, std::max(1U, std::thread::hardware_concurrency()));
  // As many whatever the number of lanes turns out to be.
  steps_total_ = trials.size() + bandwidth_cells(options_, places).size() +
                 latency_cells(options_, places).size();
  const StopRule rule = rule_for(options_, steps_total_);

  RETURN_IF_ERROR(measure_registration());
  RETURN_IF_ERROR(measure_bandwidths(trials, rule));
  places.lanes = choose_lanes(report_.bandwidth);
  RETURN_IF_ERROR(measure_bandwidths(bandwidth_cells(options_, places), rule));
  RETURN_IF_ERROR(measure_latencies(latency_cells(options_, places), rule));
  lanes_.clear();
  report_.duration_s = to_seconds(Clock::now() - begin);
  return std::move(report_);
}

Status BenchRun::measure_bandwidths(const std::vector<Cell>& cells, const StopRule& rule) {
  for (const Cell& cell : cells) {
    tell(fmt::format("{} bandwidth", to_string(cell.verb)));
    RETURN_IF_ERROR(connect_for(cell));
    ASSIGN_OR_RETURN(const Bandwidth bandwidth, measure_with_cpu(cell, rule));
    report_.bandwidth.push_back({cell, bandwidth});
  }
  return {};
}

Status BenchRun::measure_latencies(const std::vector<Cell>& cells, const StopRule& rule) {
  for (const Cell& cell : cells) {
    tell(fmt::format("{} latency", to_string(cell.verb)));
    RETURN_IF_ERROR(connect_for(cell));
    const bool fault = cell.verb == Verb::kFault;
    if (fault && !means_.make_fault_view) continue;
    Result<LatencyResult> result =
        fault ? measure_faults(cell, rule) : measure_latency_of_cell(cell, rule);
    // A process may not be allowed to have faults of its own; all else is measured.
    if (!result && result.error().code == Errc::kRefused && fault) {
      report_.findings.push_back(
          fmt::format("faults were not measured: {}", to_string(result.error())));
      return {};
    }
    if (!result) return tl::unexpected<Error>(result.error());
    report_.latency.push_back(std::move(*result));
  }
  return {};
}

Result<LatencyResult> BenchRun::measure_latency_of_cell(const Cell& cell, const StopRule& rule) {
  ASSIGN_OR_RETURN(const Latency latency,
                   measure_latency(lanes_.front(), cell, rule, session().interruption()));
  return LatencyResult{.cell = cell, .latency = latency};
}

// The last lane serves the faults; the others, if any, are the load.
Result<LatencyResult> BenchRun::measure_faults(const Cell& cell, const StopRule& rule) {
  Result<FaultView> view = means_.make_fault_view({session().block(lane_set_of(cell).memory)});
  if (!view) {
    Error error = view.error();
    error.code = Errc::kRefused;
    return tl::unexpected<Error>(error);
  }
  const auto others = std::span(lanes_).first(lanes_.size() - 1);
  const Cell bulk{.verb = Verb::kRead, .size_bytes = kBulkBytes, .depth = depth_for(kBulkBytes)};
  BulkLoad load(others, bulk,
                {.start = Clock::now(), .time_max = std::max(rule.time_max, rule.time_min)});
  const Result<Latency> latency =
      measure_fault_latency(lanes_.back(), *view, rule, session().interruption());
  RETURN_IF_ERROR(load.finish());
  if (!latency) return tl::unexpected<Error>(latency.error());
  return LatencyResult{.cell = cell,
                       .latency = *latency,
                       .load_bytes_per_s = load.bytes_per_s(),
                       .load_moved_bytes = load.moved_bytes()};
}

// Memory is used for the first time, and once more: the difference is what it took to register it.
Status BenchRun::measure_registration() {
  for (const size_t path : means_.paths) {
    ASSIGN_OR_RETURN(std::vector<BenchLane> lanes, session().connect({.paths = {path}}));
    ASSIGN_OR_RETURN(const Clock::duration first, touch_all(lanes, session().interruption()));
    ASSIGN_OR_RETURN(const Clock::duration again, touch_all(lanes, session().interruption()));
    if (!session().is_one_sided(path)) {
      report_.registration_s_per_gib.push_back(0);
      continue;
    }
    report_.registration_s_per_gib.push_back(
        std::max(0.0, to_seconds(first - again)) *
        (static_cast<double>(kGiB) / static_cast<double>(lanes.front().size_bytes)));
  }
  return {};
}

Status BenchRun::connect_for(const Cell& cell) {
  const LaneSet wanted = lane_set_of(cell);
  if (connected_ == wanted) return {};
  connected_.reset();
  lanes_.clear();
  ASSIGN_OR_RETURN(lanes_, session().connect(wanted));
  if (lanes_.front().size_bytes < std::max(cell.size_bytes, kBulkBytes))
    return fail(Errc::kRefused, "{} lanes need more memory to measure with", wanted.lanes);
  RETURN_IF_ERROR(touch_all(lanes_, session().interruption()));
  connected_ = wanted;
  return {};
}

LaneSet BenchRun::lane_set_of(const Cell& cell) const {
  const auto place_of = [](const std::vector<int>& nodes, int node) {
    return static_cast<size_t>(std::ranges::find(nodes, node) - nodes.begin());
  };
  LaneSet wanted{.paths = {},
                 .lanes = cell.lanes + (cell.load == Load::kFull ? 1 : 0),
                 .memory = place_of(options_.memory_nodes, cell.memory_node),
                 .peer_memory = place_of(options_.peer_memory_nodes, cell.peer_memory_node)};
  for (const size_t path : cell.paths) wanted.paths.push_back(means_.paths[path]);
  return wanted;
}

Result<Bandwidth> BenchRun::measure_with_cpu(const Cell& cell, const StopRule& rule) {
  ASSIGN_OR_RETURN(const CpuTime there_before, session().peer_cpu_time());
  const CpuTime here_before = read_cpu_time();
  const Clock::time_point begin = Clock::now();
  ASSIGN_OR_RETURN(Bandwidth result,
                   measure_bandwidth(lanes_, cell, rule, session().interruption()));
  const Clock::duration elapsed = Clock::now() - begin;
  const CpuTime here = read_cpu_time();
  ASSIGN_OR_RETURN(const CpuTime there, session().peer_cpu_time());
  result.cpu = {.here_s = here.cpu_s - here_before.cpu_s,
                .there_s = there.cpu_s - there_before.cpu_s,
                .elapsed_s = to_seconds(elapsed),
                .others_here = others(here_before, here) / to_seconds(elapsed),
                .others_there = others(there_before, there) / to_seconds(elapsed)};
  return result;
}

void BenchRun::tell(const std::string& what) {
  if (means_.on_step) means_.on_step({.what = what, .done = steps_done_, .total = steps_total_});
  ++steps_done_;
}

}  // namespace godwit::qualify
