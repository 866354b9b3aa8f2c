// SPDX-License-Identifier: Apache-2.0
//
// The destination's side of one migration: a state machine driven by the source's messages.
//
// What it promises: the guest is started only after the source's commit has been received and
// written down, exactly once; until then any failure leaves the guest to the source. Once it has
// said *ready* only the source knows the decision, so from there on nothing here gives up by
// itself: a lost source leaves the guest paused and the outcome in doubt. Where it turns out after
// the commit that the VMM is gone before it was told to run the guest, it says so, and the guest is
// the source's again.
#pragma once

#include <memory>
#include <vector>

#include "engine/control_channel.h"
#include "engine/guest.h"
#include "engine/migration/control_link.h"
#include "engine/migration/destination_lanes.h"
#include "engine/migration/destination_post_copy.h"
#include "engine/migration/destination_rails.h"
#include "engine/migration/interruption.h"
#include "engine/migration/observer.h"
#include "engine/migration/options.h"
#include "engine/migration/states.h"
#include "engine/rail.h"
#include "engine/report.h"
#include "engine/transport.h"

namespace godwit {

// Thread: run() by one; cancel() from any.
class DestinationMigration {
 public:
  // Everything referred to outlives the migration.
  struct Parts {
    DestinationGuest& guest;
    std::vector<Rail> rails;  // at least one
    ControlChannel& control;
    MigrationObserver& observer;
    CommitLog& commit_log;
    ControlReconnector* reconnector = nullptr;  // for post-copy; null: none
  };
  DestinationMigration(Parts parts, DestinationOptions options);
  ~DestinationMigration();

  // Runs the migration to its end. The report says how it ended; its error says why.
  MigrationReport run();

  // Gives up, where that is still this side's to decide: before it has said *ready*.
  void cancel();

  // The name that the source gave the session. Empty until the state *negotiating*.
  // Thread: run()'s, so from the observer, or after run().
  const std::string& session() const { return report_.session; }

  // After run(): the session of a source that did not come with a guest, but back to an earlier
  // destination, and was turned away. Nothing was touched. Else empty.
  const std::string& came_back_for() const { return came_back_for_; }

 private:
  Status migrate();
  Status negotiate();
  Status compare_layout(const Offer& offer) const;
  Status accept_rails(const Offer& offer);
  Status await_lanes();
  // The next message that is not about a lane.
  Result<ControlMessage> next_message(Deadline deadline);
  Status take(const CloseLane& lane);
  Status receive_memory_and_state();
  Status take(const PreparePostCopy& offer);
  Status take(const MissingPages& missing);
  Status fetch(const FetchLane& lane, size_t rail, Endpoint& endpoint, const std::stop_token& stop);
  Status take(const StatePiece& piece);
  Status take(const StateEnd& end);
  Status prepare_guest();
  Status compare_hashes(const VerifyHashes& hashes);
  Status load_state();
  void close_lanes();
  Status await_commit();
  Status start_guest();
  Status finish_by_post_copy();
  Status give_back(const Error& error);
  void give_up(const Error& error);
  void enter(DestinationState state);

  Parts parts_;
  const DestinationOptions options_;
  DestinationState state_ = DestinationState::kWaiting;
  MigrationReport report_;
  std::string came_back_for_;
  Clock::time_point begin_{};

  Interruption interruption_;
  std::unique_ptr<ControlLink> link_;
  GuestPageSet present_at_start_;
  DestinationRails rails_;
  std::unique_ptr<DestinationPostCopy> post_copy_;  // from when the source wants it
  std::unique_ptr<DestinationLanes> lanes_;

  std::vector<std::byte> device_state_;
  bool device_state_complete_ = false;
  bool guest_prepared_ = false;
  bool given_back_ = false;  // after the commit, and never started
  VerifyReport verified_;
  uint64_t chunks_to_verify_ = 0;  // that have not been compared yet
  std::string first_mismatch_;
};

}  // namespace godwit
