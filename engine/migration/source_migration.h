// SPDX-License-Identifier: Apache-2.0
//
// The source's side of one migration: a state machine from the first word to the guest running
// elsewhere (states.h).
//
// What it promises: on any failure before the commit the guest runs on here, and the first thing
// that is done about a failure is to resume it. After the commit it never resumes the guest again.
//
// How a page that is written during the move gets across, with a device's DMA in flight
// -----------------------------------------------------------------------------------
// The dirty scan sees a write through QEMU's page tables. A disk read with O_DIRECT takes the page
// for writing when it is *submitted*: that is what the scan sees. The data lands later and is not
// seen. A scan in between would report the page, we would send its old content, and nothing would
// ever report it again. (Measured: 14,371 of 16,384 pages lost at queue depth 64.)
//
// Therefore the guest is paused for a scan, which also drains its block I/O: with nothing in
// flight, "written" and "landed" are the same, and every page the scan reports has its content. The
// pauses are of the order of a millisecond.
//   * Arming happens live, since it takes long. A pause follows before the first page is sent: what
//   was
//     in flight while arming has landed by then, and what was submitted later is seen.
//   * The guest is so large that a scan would be a noticeable pause: then it is scanned live, after
//     a pause that only drains, and the pages that this scan reports are sent *again* after the
//     next drain. A DMA in flight at a live scan was submitted after the drain before it, so its
//     page is in that scan's report; by the next drain it has landed.
//   * The last scan is always a paused one, and what was reported live since the last drain is sent
//     with it.
// In post-copy the same holds for what the destination is told that it misses.
// Writers that bypass page tables for good are found, and refused, by the adapter.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/control_channel.h"
#include "engine/guest.h"
#include "engine/migration/closed_lanes.h"
#include "engine/migration/control_link.h"
#include "engine/migration/interruption.h"
#include "engine/migration/lane_connector.h"
#include "engine/migration/lane_placement.h"
#include "engine/migration/observer.h"
#include "engine/migration/options.h"
#include "engine/migration/source_post_copy.h"
#include "engine/migration/states.h"
#include "engine/numa/topology.h"
#include "engine/precopy/hot_pages.h"
#include "engine/precopy/lane_group.h"
#include "engine/rail.h"
#include "engine/report.h"
#include "engine/transport.h"

namespace godwit {

// Thread: run() by one; cancel() from any.
class SourceMigration {
 public:
  // Everything referred to outlives the migration.
  struct Parts {
    SourceGuest& guest;
    std::vector<Rail> rails;         // at least one; those of last resort come last
    const numa::Topology& topology;  // of this host
    ControlChannel& control;
    MigrationObserver& observer;
    CommitLog& commit_log;
    ControlReconnector* reconnector = nullptr;  // for post-copy; null: none
  };
  SourceMigration(Parts parts, SourceOptions options);
  ~SourceMigration();

  // Runs the migration to its end. The report says how it ended; its error says why.
  MigrationReport run();

  // Stops as soon as possible, guest running here. Does nothing once the commit was decided.
  void cancel();

 private:
  // The pages that wait to be sent, by why.
  struct PendingPages {
    GuestPageSet written;    // by the guest, found by scans
    GuestPageSet torn;       // changed while they were sent
    GuestPageSet unsettled;  // reported by a live scan: sent, but to be sent again after a drain
  };

  Status migrate();
  Status negotiate();
  Status join_rails(const Accept& accept);
  void place_lanes();
  Status register_memory(const Rail& rail, std::vector<std::unique_ptr<MemoryRegion>>& regions);
  Status connect_lanes();
  std::vector<RailReport> describe_rails(const std::vector<precopy::RailCounters>& counters) const;
  void report_rails();
  Status arm();
  Result<GuestPageSet> find_holes();
  Status send_first_round();
  Status copy_until_little_remains();
  Status scan_between_rounds();
  Status send_round(double stall_s);
  Status final_memory();
  Status save_state();
  Status send_device_state();
  Status verify();
  Status hand_over();
  Status take_back(const std::string& reason);
  void ran_there();

  // source_postcopy_phase.cc
  Status begin_post_copy();
  Status await_post_copy_prepared();
  Status prepare_at_once();
  Status last_round_before_post_copy();
  Result<GuestPageSet> missing_pages();
  Status switch_to_post_copy();
  Status serve_the_rest();

  Status pause_guest();
  Status resume_guest();
  Status collect_written();
  GuestPageSet take_pending(RoundKind kind);
  Status begin_round(RoundKind kind, GuestPageSet pages, GuestPageSet zeroes, SourceMemory memory);
  Status finish_round();
  Result<GuestPageSet> punched_pages() const;
  void give_up(const Error& error);
  void enter(SourceState state);
  void show_progress();
  double bandwidth() const;

  Parts parts_;
  const SourceOptions options_;
  SourceState state_ = SourceState::kConnecting;
  MigrationReport report_;
  Clock::time_point begin_{};

  Interruption interruption_;
  ClosedLanes closed_lanes_{interruption_};
  std::unique_ptr<ControlLink> link_;
  precopy::BandwidthLimiter limiter_;
  std::vector<std::unique_ptr<MemoryRegion>> regions_;
  std::vector<const Rail*> rails_;  // those that have an end at the destination
  std::vector<JoinedRail> joined_rails_;
  PlacementFacts placement_;
  std::unique_ptr<LaneConnector> connector_;
  std::unique_ptr<precopy::LaneContext> lane_context_;
  std::unique_ptr<precopy::LaneGroup> lanes_;
  std::unique_ptr<SourcePostCopy> post_copy_;  // from when it is decided on

  // The round that the lanes work on. Members, because lanes may still read the page sets while an
  // error elsewhere ends the migration.
  GuestPageSet sending_;
  GuestPageSet sending_zeroes_;
  RoundReport sending_report_;

  PendingPages pending_;
  std::optional<precopy::HotPages> hot_pages_;
  GuestPageSet
      present_;  // pages that the destination was sent, or told to be zero because they were
  uint32_t round_ = 0;
  Clock::time_point last_scan_{};
  Clock::duration scan_time_{};      // of the last scan
  Clock::duration pause_time_{};     // what stopping and starting the guest alone takes
  Clock::duration transfer_time_{};  // in which pages travelled
  uint64_t remaining_bytes_ = 0;     // at the last decision
  uint64_t remaining_at_round_start_ = 0;
  double dirty_bytes_per_s_ = 0;
  double measured_bandwidth_ = 0;

  bool guest_paused_ = false;
  Clock::time_point paused_at_{};
};

}  // namespace godwit
