// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/latency.h"

#include <array>
#include <memory>
#include <vector>

#include "engine/postcopy/latency_histogram.h"
#include "engine/qualify/transfers.h"

namespace godwit::qualify {
namespace {

using postcopy::LatencyCounts;
using postcopy::LatencyHistogram;

// The first ones find caches and queues cold.
constexpr int kWarmUpCount = 16;
// The median of each such stretch of time is one value of the estimate.
constexpr Clock::duration kMedianStretch = milliseconds(25);
// Below this many, a percentile of 99 is one of a handful.
constexpr uint64_t kCountMin = 1000;
constexpr Clock::duration kAnswerMax = seconds(5);

// Dense where distributions bend: the fast end, the bulk, and the tail by powers of ten.
constexpr std::array kDistributionShares = {0.001, 0.01,  0.05,   0.1,   0.2,    0.3,  0.4,
                                            0.5,   0.6,   0.7,    0.8,   0.9,    0.95, 0.975,
                                            0.99,  0.995, 0.9975, 0.999, 0.9999, 1.0};

std::vector<LatencyPoint> distribution_of(const LatencyCounts& counts) {
  std::vector<LatencyPoint> points;
  for (const double share : kDistributionShares)
    points.push_back({counts.percentile_us(share), share});
  return points;
}

Latency summarize(const LatencyCounts& counts, const Estimate& median, const StopRule& rule) {
  return {.count = counts.count(),
          .p50_us = counts.percentile_us(0.5),
          .p90_us = counts.percentile_us(0.9),
          .p99_us = counts.percentile_us(0.99),
          .p99_9_us = counts.percentile_us(0.999),
          .max_us = counts.percentile_us(1),
          .half_width_us = median.half_width,
          .confidence = judge(median, rule),
          .distribution = distribution_of(counts)};
}

Result<Clock::duration> time_transfer(Transfers& transfers) {
  const Clock::time_point begin = Clock::now();
  RETURN_IF_ERROR(transfers.begin(1));
  RETURN_IF_ERROR(transfers.finish_all());
  return Clock::now() - begin;
}

Result<Clock::duration> time_message(Endpoint& endpoint, std::span<std::byte> message) {
  const Clock::time_point begin = Clock::now();
  RETURN_IF_ERROR(endpoint.send(message, deadline_in(kAnswerMax)));
  ASSIGN_OR_RETURN(const size_t size, endpoint.receive(message, deadline_in(kAnswerMax)));
  if (size != message.size()) return fail(Errc::kCorrupt, "a message came back as another one");
  return (Clock::now() - begin) / 2;
}

// In the lane's own thread.
Result<Latency> measure_here(BenchLane& lane, const Cell& cell, const StopRule& rule,
                             const Interruption& interruption) {
  if (cell.verb == Verb::kMessage) {
    std::vector<std::byte> message(cell.size_bytes, std::byte{0x5a});
    return measure_latency_of([&] { return time_message(lane.endpoint(), message); }, rule,
                              interruption);
  }
  Transfers transfers(lane, cell.verb, cell.size_bytes);
  return measure_latency_of([&] { return time_transfer(transfers); }, rule, interruption);
}

}  // namespace

Result<Latency> measure_latency_of(const std::function<Result<Clock::duration>()>& one,
                                   const StopRule& rule, const Interruption& interruption) {
  for (int i = 0; i < kWarmUpCount; ++i) RETURN_IF_ERROR(one());
  LatencyCounts all;
  std::vector<double> medians_us;  // of each stretch of time
  const Clock::time_point begin = Clock::now();
  while (true) {
    const auto stretch = std::make_unique<LatencyHistogram>();
    const Clock::time_point end = Clock::now() + kMedianStretch;
    for (Clock::time_point now = Clock::now(); now < end; now = Clock::now()) {
      ASSIGN_OR_RETURN(const Clock::duration time, one());
      stretch->record(time);
    }
    RETURN_IF_ERROR(interruption.check());
    const LatencyCounts counts = stretch->snapshot();
    medians_us.push_back(counts.percentile_us(0.5));
    all.merge(counts);
    const Estimate median = estimate_mean(medians_us);
    const Clock::duration elapsed = Clock::now() - begin;
    const bool enough = elapsed >= rule.time_min && all.count() >= kCountMin;
    if (elapsed >= rule.time_max || (enough && is_precise(median, rule)))
      return summarize(all, median, rule);
  }
}

Result<Latency> measure_latency(BenchLane& lane, const Cell& cell, const StopRule& rule,
                                const Interruption& interruption) {
  Result<Latency> result;
  lane.owner->start([&] { result = measure_here(lane, cell, rule, interruption); });
  lane.owner->wait();
  return result;
}

}  // namespace godwit::qualify
