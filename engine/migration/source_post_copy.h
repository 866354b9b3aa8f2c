// SPDX-License-Identifier: Apache-2.0
//
// The source's side of a migration whose guest runs on the destination before all its memory is
// there: guest memory stands still here, and the destination reads from it until it has all.
//
// A connection that is lost is made again, for as long as the options say: the guest over there
// cannot go on without this memory.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/control_channel.h"
#include "engine/memory/guest_memory.h"
#include "engine/migration/control_link.h"
#include "engine/migration/interruption.h"
#include "engine/migration/lane_connector.h"
#include "engine/migration/observer.h"
#include "engine/migration/options.h"
#include "engine/migration/post_copy_link.h"
#include "engine/postcopy/page_server.h"
#include "engine/rail.h"
#include "engine/report.h"
#include "engine/transport.h"

namespace godwit {

// Thread: one.
class SourcePostCopy {
 public:
  // Everything referred to outlives this.
  struct Parts {
    const GuestMemory& memory;
    const std::vector<Rail>& rails;
    MigrationObserver& observer;
    ControlReconnector* reconnector;  // null: a lost connection is not replaced
    MigrationReport& report;
  };
  SourcePostCopy(Parts parts, const SourceOptions& options);
  ~SourcePostCopy();

  // Makes memory readable by these rails, which are numbered so for FetchLane. One that cannot is
  // noted in the report and not used. Errors: the first rail's, when there is none that can.
  // Requires: at least one rail.
  Result<PreparePostCopy> open_rails(const std::vector<const Rail*>& rails);

  // Opens the fetch lanes; `opener` numbers the rails as open_rails() did. Errors: no lane.
  Status open_lanes(precopy::LaneOpener& opener, Deadline deadline);

  // What the destination is told that it misses. Of these, those that are zero are looked for while
  // the guest runs there: for a guest of which no page was looked at before.
  Status send_missing(ControlLink& link, const GuestPageSet& missing);
  void look_for_zeroes(GuestPageSet missing);

  // Serves until the destination has said that it has all. `link` is that of the hand-over; without
  // one the destination is looked for first, and told again to run the guest.
  Status run(std::unique_ptr<ControlLink>& link);

 private:
  struct Connection;
  using Regions = std::vector<std::unique_ptr<MemoryRegion>>;  // one per block

  Result<Regions> open_rail(const Rail& rail) const;
  // Until the destination has all (true), or the connection is lost (false).
  Result<bool> follow(ControlLink& link);
  void conclude(ControlLink& link);
  PreparePostCopy offer() const;
  Status rejoin();
  // On return the lanes are there, or the destination has said that it has everything.
  Status rejoin_over(std::unique_ptr<ControlChannel> channel);
  void take(const FetchProgress& progress);
  void find_zeroes(const std::stop_token& stop);

  Parts parts_;
  const SourceOptions& options_;
  std::vector<const Rail*> rails_;  // as the destination numbers them
  std::vector<Regions> regions_;    // of each rail; none of one that cannot be used
  std::unique_ptr<postcopy::PageServer> server_;
  std::unique_ptr<Connection> connection_;  // the one that replaced the first
  bool complete_ = false;                   // the destination has said so
  Clock::time_point began_{};
  FetchView view_;

  std::mutex link_mutex_;
  ControlLink* zeroes_link_ = nullptr;
  GuestPageSet unlooked_;
  std::jthread zero_finder_;
};

}  // namespace godwit
