// SPDX-License-Identifier: Apache-2.0
//
// All lanes of the source: hands them the pages of a round and waits for the last of them.
//
// A lane can be lost at any time. Its thread then makes sure that nothing of it can still arrive,
// puts what it carried in this round back for the others, and tries to come back on its own rail.
// While no rail works, all threads but one, the scout, use those of last resort, and leave them
// when a better one is back. Only when nothing was known to arrive for `stall_max`, and lanes went
// on being lost, is the migration lost.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "engine/numa/cpu_list.h"
#include "engine/precopy/chunk_queue.h"
#include "engine/precopy/lane.h"
#include "engine/precopy/lane_opener.h"
#include "engine/precopy/open_chunk.h"
#include "engine/rail.h"

namespace godwit::precopy {

struct TransferResult {
  LaneCounters counters;
  Clock::duration duration{};
};

// What a rail did, over all rounds.
struct RailCounters {
  uint64_t bytes_sent = 0;
  uint64_t helped_bytes = 0;  // of these, pages that are at home on another rail
  uint32_t lanes_opened = 0;
  uint32_t losses = 0;
  std::optional<Error> last_loss;
  uint32_t slowdowns = 0;  // how often a lane of it became much slower than it had been
  // The longest time from noticing a loss to the other lanes having what the lost one carried.
  Clock::duration recovery_max{};
};

// Thread: one, but bytes_sent(), rails() and lose() are for any.
class LaneGroup {
 public:
  // `uses` has one entry per rail of the context; those of last resort come last. Each lane is at
  // home on one of the others, in turn. `context` and `opener` outlive the group.
  LaneGroup(const LaneContext& context, LaneOpener& opener, std::vector<RailUse> uses,
            uint32_t lane_count);

  // The parts that guest memory is shared out in, for place().
  const std::vector<Chunk>& chunks() const { return queue_.chunks(); }
  // The rail that each chunk is at home on, and the CPUs that each lane's thread may run on (none:
  // all). Requires: called before connect(); one value per chunk and per lane.
  void place(std::span<const uint32_t> homes, std::vector<numa::CpuList> cpus);
  // The rail that each lane is at home on.
  std::vector<size_t> home_rails() const;
  ~LaneGroup();
  LaneGroup(const LaneGroup&) = delete;
  LaneGroup& operator=(const LaneGroup&) = delete;

  // Opens the lanes. A rail that does not work is left for later, or for good; without any the
  // error is the first one's.
  Status connect();

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

  std::vector<RailCounters> rails() const;

  // The lane of this number does not work at its other end.
  void lose(uint32_t number);

 private:
  // A thread with a lane, or on the way to one.
  struct Slot {
    size_t home_rail;
    // Of the lane; changed under lanes_mutex_.
    size_t rail = 0;
    uint32_t number = 0;
    std::unique_ptr<Lane> lane;     // null while there is none
    std::vector<ChunkIndex> taken;  // in this round, since the lane last confirmed all
    OpenChunk open;                 // the chunk being sent
    Share share = Share::kOwn;      // of that chunk
    Clock::time_point next_try{};
    bool is_scout = false;
    Status opened;  // the first try's; read once all threads have tried
    numa::CpuList cpus;
  };

  void run(Slot& slot, const std::stop_token& stop);
  // Once every thread has tried: sees to it that there is a lane.
  Status complete_connection();
  Status open_lane(Slot& slot, size_t rail);
  void try_to_come_back(Slot& slot);
  void leave_last_resort(Slot& slot);
  void drop_lane(Slot& slot);
  void shut_down_lanes();
  // Sends chunks until there are none.
  void work(Slot& slot);
  Status send_chunks(Slot& slot, const PageTransfer& transfer);
  bool open_chunk(Slot& slot, const PageTransfer& transfer);
  bool take_over(Slot& slot, const PageTransfer& transfer);
  Status send_open_chunk(Slot& slot, const PageTransfer& transfer);
  // A part of a chunk as the lanes take it.
  Chunk chunk_of(const OpenChunk::Part& part) const;
  uint64_t page_bytes(ChunkIndex chunk) const;
  // As many whole pages as fit in, but at least one.
  uint64_t pages_in(ChunkIndex chunk, uint64_t bytes) const;
  Status confirm(Slot& slot, const PageTransfer& transfer);
  void recover(Slot& slot, Error reason);
  bool is_hopeless() const;  // under mutex_
  void give_up(const Error& error);
  void collect(Slot& slot);
  bool has_work() const;  // under mutex_
  bool round_is_over() const;
  bool is_last_resort(size_t rail) const { return uses_[rail] == RailUse::kLastResort; }

  const LaneContext& context_;
  LaneOpener& opener_;
  const std::vector<RailUse> uses_;
  ChunkQueue queue_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::atomic<uint64_t> bytes_sent_{0};

  std::mutex lanes_mutex_;  // guards which lane a slot has, against lose() and the interruption

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  bool round_open_ = false;
  PageTransfer transfer_{};       // the current one
  GuestPageSet* torn_ = nullptr;  // where collect() adds
  size_t slots_working_ = 0;
  std::atomic<size_t> lanes_alive_{0};           // of all rails
  std::atomic<size_t> lanes_alive_normally_{0};  // but those of last resort
  // When a lane last knew that all it had sent had arrived, and how many were lost since.
  Clock::time_point last_confirmed_{};
  size_t losses_since_ = 0;
  std::optional<Error> last_loss_;
  LaneCounters counters_;
  std::vector<RailCounters> rails_;
  Clock::time_point started_{};
  Clock::time_point finished_{};
  std::optional<Error> error_;

  std::latch first_tries_;
  std::latch connected_{1};
  Interruption::Hook wake_;
  std::vector<std::jthread> threads_;
};

}  // namespace godwit::precopy
