// SPDX-License-Identifier: Apache-2.0
//
// Between a migration and everything that wants to know about it: the session's folder, the
// guardian, the metrics and the progress display.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cli/agent_metrics.h"
#include "cli/guardian.h"
#include "cli/progress_display.h"
#include "cli/timeline_recorder.h"
#include "engine/migration/observer.h"
#include "engine/session/session_directory.h"

namespace godwit::cli {

// Who is told as long as the agent lives, whatever migrations it has.
struct Watchers {
  Guardian& guardian;
  MigrationMetrics& metrics;
};

// Thread: as MigrationObserver.
class AgentSession final : public MigrationObserver, public CommitLog {
 public:
  struct Options {
    SessionRole role;
    std::string test_hold;  // the state in which to stop this process, for tests
    // The destination learns the session's name in the middle of the migration: asked at every
    // state until it is not empty.
    std::function<std::string()> session_name;
    // What to do when the session cannot be opened: without its folder nothing may be decided.
    std::function<void()> give_up;
    SessionDirectory::Parties parties;
    std::vector<std::string> command;  // what starts this agent again
  };

  // Ownership: those of `watchers`, and `display`, outlive it.
  AgentSession(Options options, const Watchers& watchers, ProgressDisplay& display);

  // Makes the folder now.
  Status open(const std::string& session);

  // Takes the place of an agent that died.
  Status take_over(const std::string& session);

  // Leaves, or removes, the folder, as the migration's end demands, and adds the timeline to the
  // report.
  void conclude(MigrationReport& report);

  void on_state(std::string_view state) override;
  void on_progress(const Progress& progress) override;
  Status record_commit() override;
  Status record_return() override;
  Status record_started() override;
  Status record_recovery(const std::string& guest) override;
  Result<std::vector<postcopy::ReceivedWords>> received_pages(const GuestMemory& memory) override;

 private:
  void begin(const std::string& session);
  void tolerate(const Status& written);

  Options options_;
  Watchers watchers_;
  ProgressDisplay& display_;
  TimelineRecorder timeline_;
  std::unique_ptr<SessionDirectory> directory_;
  bool complained_ = false;
};

}  // namespace godwit::cli
