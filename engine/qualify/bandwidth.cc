// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/bandwidth.h"

#include <algorithm>
#include <thread>

#include "engine/qualify/bulk_load.h"

namespace godwit::qualify {
namespace {

// Windows grow and caches fill.
constexpr Clock::duration kWarmUp = milliseconds(100);
constexpr size_t kStretchesOf100Ms = 2;
static_assert(kStretchesOf100Ms * kStretch == milliseconds(100));

// On a slow link it takes longer until there is anything to speak of.
constexpr uint64_t kArrivalsMin = 8;
constexpr Clock::duration kLongerMax = seconds(2);

// Returns how many stretches of time have passed when that is enough.
size_t wait_for_precision(const BulkLoad& load, Clock::time_point start, const StopRule& rule,
                          const Interruption& interruption) {
  const auto stretches_min = std::max<size_t>(static_cast<size_t>(rule.time_min / kStretch), 2);
  const auto stretches_max = std::max(static_cast<size_t>(rule.time_max / kStretch), stretches_min);
  const auto longer = static_cast<size_t>(kLongerMax / kStretch);
  for (size_t stretches = 1;; ++stretches) {
    std::this_thread::sleep_until(start + static_cast<int64_t>(stretches) * kStretch);
    if (load.failed() || interruption.raised()) return stretches;
    const bool few = load.arrivals() < kArrivalsMin;
    if (stretches >= stretches_max + (few ? longer : 0)) return stretches;
    if (stretches < stretches_min || few) continue;
    if (is_precise(estimate_rate(load.rates(stretches), load.arrivals()), rule)) return stretches;
  }
}

}  // namespace

Result<Bandwidth> measure_bandwidth(std::span<BenchLane> lanes, const Cell& cell,
                                    const StopRule& rule, const Interruption& interruption) {
  const Clock::time_point start = Clock::now() + kWarmUp;
  const Clock::duration time_max = std::max(rule.time_max, rule.time_min) + kLongerMax + seconds(1);
  BulkLoad load(lanes, cell, {.start = start, .time_max = time_max});
  const size_t stretches = wait_for_precision(load, start, rule, interruption);
  const Status finished = load.finish();
  RETURN_IF_ERROR(interruption.check());
  RETURN_IF_ERROR(finished);

  const std::vector<double> rates = load.rates(stretches);
  const Estimate estimate = estimate_rate(rates, load.arrivals());
  return Bandwidth{.bytes_per_s = load.bytes_per_s(),
                   .half_width_bytes_per_s = estimate.half_width,
                   .min_100ms_bytes_per_s = least_mean(rates, kStretchesOf100Ms),
                   .confidence = judge(estimate, rule),
                   .duration_s = to_seconds(static_cast<int64_t>(stretches) * kStretch),
                   .moved_bytes = load.moved_bytes(),
                   .cpu = {}};
}

}  // namespace godwit::qualify
