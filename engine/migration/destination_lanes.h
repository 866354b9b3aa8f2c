// SPDX-License-Identifier: Apache-2.0
//
// The far ends of the lanes. Pages arrive by themselves (one-sided writes); what these threads do
// is let lanes in, drive the endpoints that need it, and clear the pages that are zero at the
// source.
//
// A page that is zero, or a hole, at the source has to *become* zero here: a waiting VMM has
// already written firmware and tables into its memory.
//
// A lane that is lost is not an error: the source sends what it carried again, by another one, once
// it knows that nothing of the lost one can still arrive (close()).
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/lane_tickets.h"
#include "engine/memory/guest_memory.h"
#include "engine/migration/interruption.h"
#include "engine/transport.h"
#include "engine/wire/lane_messages.h"

namespace godwit {

// Thread: one.
class DestinationLanes {
 public:
  struct Parts {
    const GuestMemory& memory;
    const GuestPageSet& present_at_start;  // pages that were not holes before the first byte came
    // A lane that says what no source says is raised here.
    Interruption& interruption;
    LaneTickets::TokenOf token_of;
    // Thread: the lane's. Called when a lane is lost; nothing of it can arrive any more.
    std::function<void(uint32_t lane, const Error& reason)> on_lost;
    // Thread: the lane's. Works as a fetch lane on the rail of this listener until that is over.
    // Null where there is no post-copy.
    std::function<Status(const FetchLane& lane, size_t listener, Endpoint& endpoint,
                         const std::stop_token& stop)>
        fetch;
  };
  // Everything that `parts` refers to outlives this.
  DestinationLanes(Parts parts, std::vector<std::unique_ptr<Listener>> listeners);
  ~DestinationLanes();
  DestinationLanes(const DestinationLanes&) = delete;
  DestinationLanes& operator=(const DestinationLanes&) = delete;

  // On return nothing that the lane wrote can still arrive, and it will not be let in any more.
  void close(uint32_t lane);

  // On return nothing that the source writes can arrive any more, by no lane; fetch lanes stay.
  void close_writers();

 private:
  enum class Use : uint8_t { kWrites = 1, kFetches, kHasFetched };
  struct Lane {
    uint32_t number;
    size_t listener;  // that it came by
    std::unique_ptr<Endpoint> endpoint;
    Use use = Use::kWrites;  // under mutex_; kHasFetched: its thread is about to end
    std::jthread thread;
  };

  void let_in(size_t listener);
  void add(AcceptedLane accepted, size_t listener);
  void end_those_that_have_fetched();
  // Requires: the lock.
  std::vector<std::unique_ptr<Lane>> take_out(Use use);
  static void end(std::unique_ptr<Lane> lane);
  void serve(Lane& lane, const std::stop_token& stop);
  void set_use(Lane& lane, Use use);
  Status turn_into_fetch_lane(Lane& lane, const FetchLane& message, const std::stop_token& stop);
  Status handle(Endpoint& endpoint, const LaneMessage& message, uint64_t& zeroed_pages);
  void shut_down_all();

  const Parts parts_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  LaneTickets tickets_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint32_t, std::unique_ptr<Lane>> lanes_;
  uint64_t visits_ = 0;  // how often a listener has returned
  bool ending_ = false;
  bool writers_closed_ = false;

  Interruption::Hook wake_;
  std::vector<std::jthread> doormen_;  // one per listener
};

}  // namespace godwit
