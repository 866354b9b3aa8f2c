// SPDX-License-Identifier: Apache-2.0
//
// INTERFACES: what a migration tells the program that runs it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/guest_memory.h"
#include "engine/postcopy/page_ledger.h"
#include "engine/report.h"

namespace godwit {

// Thread: called by the thread that called run(). Must return quickly.
class MigrationObserver {
 public:
  virtual ~MigrationObserver() = default;

  // A state (states.h) has just been entered.
  virtual void on_state(std::string_view state) = 0;

  // A few times per second while pages travel.
  virtual void on_progress(const Progress& progress) = 0;
};

// Where the decision about ownership is written down, so that it outlives the agent.
class CommitLog {
 public:
  virtual ~CommitLog() = default;

  // On return the decision survives the death of this process. The source calls it before it sends
  // the commit, the destination before it starts the guest. An error means that nothing was
  // decided.
  virtual Status record_commit() = 0;

  // The destination never told the guest to run, and gave it back: the commit is undone. The source
  // calls it before it resumes the guest, the destination before it says so.
  virtual Status record_return() = 0;

  // Post-copy, of the destination: the guest was told to run, and does. Whoever comes after this
  // agent leaves its run state to its owner. Thread: any.
  virtual Status record_started() = 0;

  // Post-copy, before the guest is handed over: what another agent needs to take this one's place
  // when it dies, in the words of the VMM adapter (`recovery_record` of a guest).
  virtual Status record_recovery(const std::string& guest) = 0;

  // Post-copy, of the destination: where it is kept which pages have been received, so that it
  // outlives the agent. Belongs to the log. What is there from an agent before is kept.
  virtual Result<std::vector<postcopy::ReceivedWords>> received_pages(
      const GuestMemory& memory) = 0;
};

}  // namespace godwit
