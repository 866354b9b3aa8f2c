// SPDX-License-Identifier: Apache-2.0
//
// All lanes of the source: hands them the pages of a round and waits for the last of them. Lanes
// share no work queue: guest memory is cut into chunks once, and each lane takes the next chunk
// that nobody has taken by adding one to a counter.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "engine/precopy/lane.h"

namespace godwit::precopy {

struct TransferResult {
  LaneCounters counters;
  Clock::duration duration{};
};

// Thread: one, but bytes_sent() is for any.
class LaneGroup {
 public:
  // Ownership: takes the endpoints, a lane each. `context` must outlive the group.
  LaneGroup(const LaneContext& context, std::vector<std::unique_ptr<Endpoint>> endpoints);
  ~LaneGroup();
  LaneGroup(const LaneGroup&) = delete;
  LaneGroup& operator=(const LaneGroup&) = delete;

  // Starts one round on the lanes and returns at once. Ownership: the page sets, and `torn`, belong
  // to the lanes until finish() has returned.
  Status begin(const PageTransfer& transfer, GuestPageSet& torn);

  // Whether the round is over, waiting for that until `deadline`.
  bool done_by(Deadline deadline);

  // Waits for the end of the round. On return everything lies in the destination's memory, but for
  // the pages added to `torn`, which changed on the way. Calls `tick` a few times per second
  // meanwhile.
  Result<TransferResult> finish(const std::function<void()>& tick);

  // Payload of all rounds so far, the current one included.
  uint64_t bytes_sent() const { return bytes_sent_.load(std::memory_order_relaxed); }

 private:
  void run_lane(Lane& lane, const std::stop_token& stop);
  Status work_on(Lane& lane, const PageTransfer& transfer);
  void collect(Lane& lane);

  const LaneContext& context_;
  std::vector<Chunk> chunks_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::atomic<size_t> next_chunk_{0};
  std::atomic<uint64_t> bytes_sent_{0};

  std::mutex mutex_;
  std::condition_variable_any changed_;
  uint64_t generation_ = 0;       // counts rounds; lanes start when it changes
  PageTransfer transfer_{};       // the current one
  GuestPageSet* torn_ = nullptr;  // where collect() adds
  size_t lanes_working_ = 0;
  LaneCounters counters_;
  Clock::time_point started_{};
  Clock::time_point finished_{};
  std::optional<Error> error_;

  Interruption::Hook wake_;
  std::vector<std::jthread> threads_;
};

}  // namespace godwit::precopy
