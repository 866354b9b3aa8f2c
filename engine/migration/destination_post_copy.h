// SPDX-License-Identifier: Apache-2.0
//
// The destination's side of a migration in which the guest runs before all its memory is here.
//
// It is prepared while the guest still runs at the source, serves faults from before the device
// state is loaded (loading touches memory), and goes on until the last page is here. A connection
// that is lost after the hand-over is replaced by another; meanwhile the guest goes on with what it
// has, and waits where it touches what it has not.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "engine/control_channel.h"
#include "engine/memory/guest_memory.h"
#include "engine/migration/control_link.h"
#include "engine/migration/destination_lanes.h"
#include "engine/migration/destination_rails.h"
#include "engine/migration/interruption.h"
#include "engine/migration/observer.h"
#include "engine/migration/options.h"
#include "engine/migration/post_copy_link.h"
#include "engine/page_faults.h"
#include "engine/postcopy/page_fetcher.h"
#include "engine/rail.h"
#include "engine/report.h"

namespace godwit {

// Thread: one, but fetch().
class DestinationPostCopy {
 public:
  // Everything referred to outlives this.
  struct Parts {
    const GuestMemory& memory;
    // Runs the guest. Thread: any. Called again after kTimeout: a VMM that waits for a page may not
    // answer.
    std::function<Status()> start_guest;
    const std::vector<Rail>& rails;
    MigrationObserver& observer;
    CommitLog& commit_log;
    ControlReconnector* reconnector;  // null: a lost connection is not replaced
    MigrationReport& report;
  };
  DestinationPostCopy(Parts parts, const DestinationOptions& options);
  ~DestinationPostCopy();

  // Makes first touches of guest memory wait for us. `faults` is not armed yet; `rails` outlives
  // the lanes that use it. Errors: kRefused, and nothing has changed.
  Status prepare(std::unique_ptr<PageFaults> faults, const PreparePostCopy& offer,
                 const DestinationRails& rails);
  // Takes over from an agent that died after the commit. `faults` is armed, and outlives this.
  Status adopt(PageFaults& faults);

  Status take(const MissingPages& missing);
  // All missing pages are known. From here on faults are served.
  void begin();

  // For DestinationLanes. Thread: a lane's.
  Status fetch(const FetchLane& lane, size_t rail, Endpoint& endpoint, const std::stop_token& stop);

  // How far the hand-over had come.
  enum class Guest : uint8_t {
    kUncommitted = 1,  // only the source knows whose it is: it comes again and says so
    kCommitted = 2,    // ours, and perhaps not running yet
    kStarted = 3,
  };

  // Fetches the rest, and tells the source when nothing is missing; that it could not be told is in
  // the report, and no error. `link` and `lanes` are those of the hand-over; without them a source
  // is awaited first. Returns with the guest running, all memory here and nothing of the agent left
  // in the VMM.
  // Errors: kGuest when the VMM is gone, or does not start the guest; the source was told.
  Status run(const std::string& session, Guest guest, std::unique_ptr<ControlLink>& link,
             std::unique_ptr<DestinationLanes>& lanes);

  // No fault is served any more, for a migration that is given up: whoever waits for a page goes on
  // with what is there. Requires: the guest does not run, and never will. Idempotent.
  void abandon();

  // While it exists, an interruption abandons. A VMM that loads its device state waits for pages
  // that may never come.
  class Watch {
   public:
    Watch(DestinationPostCopy& post_copy, Interruption& interruption);

   private:
    std::mutex mutex_;
    std::condition_variable_any changed_;
    Interruption::Hook hook_;
    std::jthread thread_;
  };

 private:
  struct Connection;

  Status run_to_the_end(const std::string& session, Guest guest, std::unique_ptr<ControlLink>& link,
                        std::unique_ptr<DestinationLanes>& lanes);
  Status open_fetcher(uint64_t bandwidth_limit_bytes_per_s);
  void set_regions(const PreparePostCopy& offer, const DestinationRails& rails);
  // Until all is here (true) or the connection is lost (false).
  Result<bool> follow(ControlLink& link);
  Status rejoin();
  Status rejoin_over(std::unique_ptr<ControlChannel> channel);
  Status take_commit(ControlLink& link);
  void start_in_background();
  void tell_source(ControlLink* link);
  FetchProgress progress() const;
  void fill_report();

  Parts parts_;
  const DestinationOptions options_;
  std::string session_;
  std::unique_ptr<PageFaults> own_faults_;
  PageFaults* faults_ = nullptr;
  std::vector<postcopy::ReceivedWords> received_;
  std::unique_ptr<postcopy::PageFetcher> fetcher_;
  GuestPageSet missing_;
  // By the destination's rail and the source's; made before any lane uses them.
  std::vector<std::vector<postcopy::FetchRegions>> regions_;
  bool committed_ = false;
  std::atomic<bool> started_ = false;
  bool said_running_ = false;
  bool abandoned_ = false;
  Clock::time_point began_{};
  FetchView view_;
  std::unique_ptr<Connection> connection_;  // the one that replaced the first
  std::jthread starter_;                    // of a guest that an agent before us may have started
};

}  // namespace godwit
