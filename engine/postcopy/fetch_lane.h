// SPDX-License-Identifier: Apache-2.0
//
// One connection of the destination by which it reads missing pages out of the source's memory,
// straight to where they belong. A page that has come is marked received and then installed, in
// that order: an agent that dies in between finds it received.
//
// The data path allocates nothing and takes no lock.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/guest_memory.h"
#include "engine/page_faults.h"
#include "engine/postcopy/fault_waiters.h"
#include "engine/postcopy/page_ledger.h"
#include "engine/transport.h"

namespace godwit::postcopy {

// Guest memory as one pair of rails sees it; one of each per block.
struct FetchRegions {
  std::vector<const MemoryRegion*> local;
  std::vector<RemoteRegion> remote;
};

// Pages that the caller has claimed in the ledger.
struct Claim {
  uint32_t block;
  PageRun pages;
  std::optional<Wait> wait;   // of somebody, for the first of them
  Clock::time_point asked{};  // when, if it is of interest
};

// Thread: one.
class FetchLane {
 public:
  // Everything referred to outlives the lane.
  struct Parts {
    const GuestMemory& memory;
    PageLedger& ledger;
    PageFaults& faults;
  };
  FetchLane(const Parts& parts, Endpoint& endpoint, const FetchRegions& regions);
  // Requires: nothing is in flight, or abandon() was called.
  ~FetchLane() = default;
  FetchLane(const FetchLane&) = delete;
  FetchLane& operator=(const FetchLane&) = delete;

  bool has_room(size_t claims = 1) const { return free_count_ >= claims; }
  bool idle() const { return free_count_ == kSlots; }
  uint64_t in_flight_bytes() const { return in_flight_bytes_; }

  // Asks for the pages. Requires: has_room(). Errors: the endpoint is dead; the claim is kept, for
  // abandon().
  Status fetch(const Claim& claim);

  // Takes what has come, waiting for something until the deadline (one that has passed: not at
  // all). `arrived` is called for each claim, once its pages are installed.
  using Arrived = std::function<void(const Claim& claim)>;
  Status take(Deadline deadline, const Arrived& arrived);

  // The endpoint is dead, or is made so: gives back what was claimed, and lets those who wait for
  // it ask anew. On return nothing can arrive by this lane any more. Errors: kSystem when that is
  // not certain; nothing is given back then.
  Status abandon();

 private:
  static constexpr uint32_t kSlots = 256;

  // A claim under way, cut into operations of the transport.
  struct Slot {
    Claim claim;
    uint64_t posted_bytes;
    uint64_t arrived_bytes;
    uint64_t size_bytes;
  };

  TransferOp piece_at(uint32_t slot, uint64_t at) const;
  Status post_more(uint32_t slot);
  Status account_for(const Completion& completion, const Arrived& arrived);
  Status finish(uint32_t slot, const Arrived& arrived);

  const Parts parts_;
  Endpoint& endpoint_;
  const FetchRegions& regions_;
  std::array<Slot, kSlots> slots_;
  std::array<uint32_t, kSlots> free_;  // the first free_count_ are
  uint32_t free_count_ = kSlots;
  std::vector<uint32_t> unposted_;  // slots of which not all could be posted yet
  uint64_t in_flight_bytes_ = 0;
  std::array<Completion, 64> completions_{};
  uint32_t torn_in_a_row_ = 0;
  bool abandoned_ = false;
};

}  // namespace godwit::postcopy
