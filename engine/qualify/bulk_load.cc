// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/bulk_load.h"

#include <algorithm>

#include "engine/qualify/transfers.h"

namespace godwit::qualify {
namespace {

// Transfers that are posted at once: a doorbell for each would be measured otherwise.
uint32_t batch_of(uint32_t depth) {
  return std::clamp<uint32_t>(depth / 4, 1, 16);
}

}  // namespace

BulkLoad::BulkLoad(std::span<BenchLane> lanes, const Cell& cell, Times times) : cell_(cell) {
  for (BenchLane& lane : lanes) runs_.push_back(std::make_unique<LaneRun>(lane, times));
  for (const auto& run : runs_) {
    run->lane.owner->start([this, &lane_run = *run] {
      lane_run.ended = drive(lane_run);
      if (!lane_run.ended) failed_.store(true);
    });
  }
}

BulkLoad::~BulkLoad() {
  (void)finish();
}

Status BulkLoad::drive(LaneRun& run) const {
  Transfers transfers(run.lane, cell_.verb, cell_.size_bytes);
  const uint64_t full_bytes = uint64_t{cell_.depth} * cell_.size_bytes;
  const uint32_t batch = batch_of(cell_.depth);
  const uint64_t batch_bytes = uint64_t{batch} * cell_.size_bytes;
  while (!stop_.load(std::memory_order_relaxed)) {
    while (transfers.bytes_under_way() + batch_bytes <= full_bytes)
      RETURN_IF_ERROR(transfers.begin(batch));
    ASSIGN_OR_RETURN(const uint64_t bytes, transfers.advance());
    run.clock.add(Clock::now(), bytes);
    run.moved_bytes += bytes;
  }
  ASSIGN_OR_RETURN(const uint64_t rest_bytes, transfers.finish_all());
  run.moved_bytes += rest_bytes;
  return {};
}

std::vector<double> BulkLoad::rates(size_t stretches_max) const {
  size_t stretches = stretches_max;
  for (const auto& run : runs_) stretches = std::min(stretches, run->clock.settled());
  std::vector<double> rates(stretches);
  for (size_t stretch = 0; stretch < stretches; ++stretch) {
    uint64_t bytes = 0;
    for (const auto& run : runs_) bytes += run->clock.bytes_in(stretch);
    rates[stretch] = static_cast<double>(bytes) / to_seconds(kStretch);
  }
  return rates;
}

uint64_t BulkLoad::arrivals() const {
  uint64_t sum = 0;
  for (const auto& run : runs_) sum += run->clock.arrivals();
  return sum;
}

Status BulkLoad::finish() {
  stop_.store(true);
  for (const auto& run : runs_) run->lane.owner->wait();
  for (const auto& run : runs_) RETURN_IF_ERROR(run->ended);
  return {};
}

double BulkLoad::bytes_per_s() const {
  double sum = 0;
  for (const auto& run : runs_) sum += run->clock.bytes_per_s();
  return sum;
}

uint64_t BulkLoad::moved_bytes() const {
  uint64_t sum = 0;
  for (const auto& run : runs_) sum += run->moved_bytes;
  return sum;
}

}  // namespace godwit::qualify
