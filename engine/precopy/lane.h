// SPDX-License-Identifier: Apache-2.0
//
// One lane of the source: walks the pages it is given, in guest memory where they lie, and sorts
// them: zero pages become a few bytes of message, the rest one-sided writes. Touches no other
// lane's state.
//
// The data path (lane.cc) allocates nothing, copies nothing and takes no lock after construction.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/guest_memory.h"
#include "engine/migration/interruption.h"
#include "engine/precopy/bandwidth_limiter.h"
#include "engine/precopy/chunk_queue.h"
#include "engine/precopy/lane_pace.h"
#include "engine/transport.h"
#include "engine/wire/lane_messages.h"

namespace godwit::precopy {

// Guest memory as one rail sees it.
struct RailMemory {
  std::vector<const MemoryRegion*> local;  // one per block
  std::vector<RemoteRegion> remote;        // one per block
  // What a lane may have on its way at most (lane_pace.h).
  uint64_t in_flight_bytes_max;
};

// What every lane of a migration works with; it outlives them.
struct LaneContext {
  const GuestMemory& memory;
  std::vector<RailMemory> rails;
  BandwidthLimiter& limiter;
  Interruption& interruption;
  Clock::duration stall_max;  // without any progress, after which the peer counts as lost
};

// The pages of one round. Both sets stay untouched while lanes work on it.
struct PageTransfer {
  const GuestPageSet* pages;   // looked at: what is zero becomes zero there, the rest is written
  const GuestPageSet* zeroes;  // known to be zero or holes: not even looked at; may be null
  SourceMemory memory;
  uint32_t round;  // 1 is the first
};

// A page, of its block's page size, that changed on the way.
struct TornPage {
  uint32_t block;
  uint64_t page;
};

// All of 4 KiB pages.
struct LaneCounters {
  uint64_t bytes_sent = 0;
  uint64_t pages_sent = 0;
  uint64_t zero_pages = 0;
  uint64_t torn_pages = 0;
  uint32_t slowdowns = 0;  // of the rail, as lane_pace.h says
};

// Thread: one.
class Lane {
 public:
  Lane(const LaneContext& context, size_t rail, std::unique_ptr<Endpoint> endpoint);

  // Sends the chunk's pages of the round; they may still be on their way when it returns.
  Status send_chunk(const Chunk& chunk, Turn turn, const PageTransfer& transfer);

  // Returns once everything of the round lies in the destination's memory.
  Status finish_round(const PageTransfer& transfer);

  // What was counted, and found torn, since the last call of each.
  LaneCounters take_counters();
  const std::vector<TornPage>& torn() const { return torn_; }
  void clear_torn() { torn_.clear(); }

  // Whether its rail is much slower than shortly before.
  bool is_slow() const { return pace_.is_slow(); }

  // Thread: any.
  void shut_down() { endpoint_->shut_down(); }

 private:
  Status add_run(const Chunk& chunk, PageRun run, const PageTransfer& transfer);
  Status add_data(uint32_t block, uint64_t offset_bytes, uint64_t size_bytes, SourceMemory memory);
  Status add_zeroes(uint32_t block, uint64_t first_base_page, uint64_t base_page_count);
  uint64_t batch_bytes_max() const;
  Status post_batch(SourceMemory memory);
  Status wait_for_room();
  Status send_zeroes();
  Status wait_until(Clock::time_point moment);
  Status take_completions(Deadline deadline);
  Status account_for(size_t count);
  Status why_it_ended();

  const LaneContext& context_;
  const RailMemory& rail_;
  std::unique_ptr<Endpoint> endpoint_;

  std::vector<TransferOp> batch_;
  uint64_t batch_bytes_ = 0;
  LanePace pace_;
  size_t in_flight_ = 0;
  uint64_t in_flight_bytes_ = 0;
  std::array<Completion, 64> completions_{};

  ZeroRuns zeroes_;                           // in base pages
  PageHistory history_ = PageHistory::kSent;  // of the chunk being sent
  bool sent_zeroes_ = false;                  // in this round

  std::vector<TornPage> torn_;
  LaneCounters counters_;
  std::vector<std::byte> message_;  // the one being sent or received
};

}  // namespace godwit::precopy
