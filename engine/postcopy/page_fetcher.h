// SPDX-License-Identifier: Apache-2.0
//
// The destination's part in post-copy: serves the faults of a guest whose memory is still partly at
// the source, and fetches the rest in the background.
//
// Lanes come and go (run_lane() is what a lane's thread does). A fault has a lane of its own and
// never waits behind bulk. While there is no lane for faults, what is here is still served to the
// guest; whoever touches what is missing waits until a lane comes.
//
// Where the thread that serves faults may have real-time priority, it sleeps in the kernel for the
// next fault and for each answer: it is on a CPU as soon as there is something to do, and leaves it
// to those who bring the rest meanwhile. Where it may not, it polls while faults are frequent.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/thread_priority.h"
#include "engine/base/wake_event.h"
#include "engine/memory/guest_memory.h"
#include "engine/page_faults.h"
#include "engine/postcopy/fault_waiters.h"
#include "engine/postcopy/fetch_lane.h"
#include "engine/postcopy/fetch_order.h"
#include "engine/postcopy/latency_histogram.h"
#include "engine/postcopy/page_ledger.h"
#include "engine/postcopy/stall_times.h"
#include "engine/precopy/bandwidth_limiter.h"
#include "engine/transport.h"
#include "engine/wire/lane_messages.h"

namespace godwit::postcopy {

struct FetchCounters {
  uint64_t faults = 0;            // of pages that were not installed yet
  uint64_t faults_fetched = 0;    // of these, of pages that nobody had asked for yet
  uint64_t fault_bytes = 0;       // fetched because somebody waited
  uint64_t background_bytes = 0;  // fetched because nobody did yet
  uint64_t zero_pages = 0;        // that the source said are zero
};

class PageFetcher {
 public:
  // Everything referred to outlives the fetcher. `faults` is armed.
  struct Parts {
    const GuestMemory& memory;
    PageFaults& faults;
    std::vector<ReceivedWords> received;       // for the ledger
    uint64_t bandwidth_limit_bytes_per_s = 0;  // of the background; 0 = unlimited
  };
  static Result<std::unique_ptr<PageFetcher>> make(Parts parts);
  // Requires: no thread is in run_lane().
  ~PageFetcher();
  PageFetcher(const PageFetcher&) = delete;
  PageFetcher& operator=(const PageFetcher&) = delete;

  // From here on faults are served. Requires: called once; the guest does not run yet.
  void begin(const GuestPageSet& missing);
  // The same for an agent that takes over from one that died: what is missing, the ledger knows,
  // and the guest may be waiting for it.
  Status resume();

  // Waits for begin() or resume(). Errors: kCancelled when `stop` is requested before. Thread: any.
  Status await_begin(const std::stop_token& stop);

  // Of the background; 0 = unlimited. Thread: any.
  void limit_bandwidth(uint64_t bytes_per_s) { limiter_.set_rate(bytes_per_s); }

  // The guest runs: the rest may be fetched now. Thread: any.
  void start_background();

  // Works as a fetch lane in the calling thread. Returns when all is here, `stop` is requested, or
  // the lane is lost. Requires: begin() or resume() was called. Thread: any number at once.
  Status run_lane(FetchKind kind, Endpoint& endpoint, const FetchRegions& regions,
                  const std::stop_token& stop);

  // These missing pages are zero. Errors: kCorrupt when there are no such pages. Thread: one.
  Status take_zeroes(uint32_t block, std::span<const PageRun> runs);

  // Whether everything is here, waiting for that until the deadline. Then, and only then, call
  // end(). Errors: the VMM is gone, or its faults cannot be served any more. Thread: any.
  Result<bool> await_complete(Deadline deadline);

  // await_complete() says so from now on. Thread: any.
  void fail_with(const Error& error);

  // No fault is served any more: for disarming, or because it is all over. Idempotent. Returns when
  // no thread of the fetcher touches the VMM; run_lane() returns soon.
  void end();

  uint64_t outstanding_bytes() const { return ledger_.outstanding_bytes(); }
  FetchCounters counters() const;
  const LatencyHistogram& fault_latency() const { return fault_latency_; }
  // Who waited for how long altogether.
  const StallTimes& stall_times() const { return stall_times_; }
  // Of the threads that serve faults; the least that one got.
  Urgency urgency() const { return urgency_.get(); }

 private:
  explicit PageFetcher(Parts parts, WakeEvent ended);

  void open_doors();
  Status run(FetchKind kind, Endpoint& endpoint, const FetchRegions& regions,
             const std::stop_token& stop);
  Status serve_faults(FetchLane& lane, Endpoint& endpoint, const std::stop_token& stop);
  Status handle(FetchLane& lane, const PageFault& fault, Clock::time_point now);
  std::optional<PageRun> claim_behind(const PageFault& fault);
  void note_served(const Wait& wait);
  Status serve_received(const PageFault& fault);
  void watch_without_lane(const std::stop_token& stop);
  Status serve_what_is_here();
  Status wake_all();

  Status fetch_rest(FetchLane& lane, Endpoint& endpoint, const std::stop_token& stop);
  Status fill(FetchLane& lane, uint64_t window_bytes);
  void note_arrival(const Claim& claim);
  void note_if_complete();
  bool sleep_for_faults(Clock::duration time);

  const GuestMemory& memory_;
  PageFaults& faults_;
  PageLedger ledger_;
  FetchOrder order_;
  precopy::BandwidthLimiter limiter_;
  LatencyHistogram fault_latency_;
  StallTimes stall_times_;
  FaultWaiters waiters_;
  LeastUrgency urgency_;
  // What was installed: to install a page twice is no error, but takes a system call for each.
  std::vector<std::vector<std::atomic<uint64_t>>> installed_;
  std::optional<GuestPageSet> present_;  // before anything was fetched; for take_zeroes()

  std::atomic<uint64_t> fault_count_{0};
  std::atomic<uint64_t> faults_fetched_{0};
  std::atomic<uint64_t> fault_bytes_{0};
  std::atomic<uint64_t> background_bytes_{0};
  std::atomic<uint64_t> zero_pages_{0};

  std::mutex watch_mutex_;  // held by the watchman while it reads faults
  std::atomic<uint32_t> fault_lanes_{0};

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  uint32_t lanes_running_ = 0;  // in run_lane()
  bool begun_ = false;
  bool background_ = false;
  bool complete_ = false;
  std::optional<Error> error_;
  std::atomic<bool> ending_{false};
  WakeEvent ended_;  // readable from end() on

  std::jthread watchman_;
};

}  // namespace godwit::postcopy
