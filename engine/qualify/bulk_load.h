// SPDX-License-Identifier: Apache-2.0
//
// Lanes that are kept full, each by its own thread as in a migration: what bandwidth is
// measured of, and what a latency is measured beside.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/qualify/bench_report.h"
#include "engine/qualify/bench_session.h"
#include "engine/qualify/byte_clock.h"

namespace godwit::qualify {

// Thread: one.
class BulkLoad {
 public:
  // Begins. Of the cell: verb, size and depth. Bytes count from `start` on, for `time_max`.
  // Ownership: the lanes are this object's until finish() or its end.
  struct Times {
    Clock::time_point start;
    Clock::duration time_max;
  };
  BulkLoad(std::span<BenchLane> lanes, const Cell& cell, Times times);
  ~BulkLoad();
  BulkLoad(const BulkLoad&) = delete;
  BulkLoad& operator=(const BulkLoad&) = delete;

  // A lane has ended by itself.
  bool failed() const { return failed_.load(std::memory_order_relaxed); }

  // Of all lanes, for the first stretches of time: of which everything is known, at most so many.
  std::vector<double> rates(size_t stretches_max) const;

  // How often bytes have arrived, on all lanes.
  uint64_t arrivals() const;

  // Waits until nothing is under way any more. Errors: those of the lanes.
  Status finish();

  // When it is finished.
  double bytes_per_s() const;
  uint64_t moved_bytes() const;

 private:
  struct LaneRun {
    LaneRun(BenchLane& run_lane, const Times& times)
        : lane(run_lane), clock(times.start, times.time_max) {}

    BenchLane& lane;
    ByteClock clock;
    Status ended = {};
    uint64_t moved_bytes = 0;
  };
  Status drive(LaneRun& run) const;

  const Cell cell_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> failed_{false};
  std::vector<std::unique_ptr<LaneRun>> runs_;
};

}  // namespace godwit::qualify
