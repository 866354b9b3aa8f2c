// SPDX-License-Identifier: Apache-2.0
//
// Ctrl-C and `kill` as an ordinary event: one thread waits for SIGINT, SIGTERM and SIGHUP, and
// calls whatever stops what is going on at that moment. Nothing runs in a signal handler, and a
// second signal only says that the first was heard: a migration that is being cancelled is not to
// be cut off.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "cli/agent_options.h"
#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "engine/base/wake_event.h"

namespace godwit::cli {

// Call before any thread exists: signals go to the watcher only when everybody else blocks them.
void block_interrupt_signals();

class InterruptWatcher {
 public:
  static Result<std::unique_ptr<InterruptWatcher>> start();
  ~InterruptWatcher();
  InterruptWatcher(const InterruptWatcher&) = delete;
  InterruptWatcher& operator=(const InterruptWatcher&) = delete;

  // What an interrupt does from now on; at once, in this thread, when there was one already. An
  // empty function: nothing. On return the one before is not running any more.
  void set_action(std::function<void()> action);

  bool interrupted() const;

  // Readable from the first interrupt on, for poll(2).
  int fd() const { return interrupted_event_.fd(); }

 private:
  InterruptWatcher(UniqueFd signals, WakeEvent interrupted_event, WakeEvent stop_event);
  void watch();

  UniqueFd signals_;
  WakeEvent interrupted_event_;
  WakeEvent stop_event_;
  mutable std::mutex mutex_;
  std::function<void()> action_;
  bool interrupted_ = false;
  std::thread thread_;
};

// How a command begins that talks to a peer and has no guardian: blocks the signals, watches, and
// warns of --insecure. Says on stderr why it could not.
Result<std::unique_ptr<InterruptWatcher>> watch_interrupts(const AgentOptions& options);

}  // namespace godwit::cli
