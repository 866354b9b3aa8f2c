// SPDX-License-Identifier: Apache-2.0
//
// The lanes of which the destination has said that nothing can arrive any more.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <set>
#include <string>

#include "engine/migration/interruption.h"

namespace godwit {

// Thread: any.
class ClosedLanes {
 public:
  explicit ClosedLanes(Interruption& interruption) : interruption_(interruption) {
    wake_ = interruption_.on_raise([this] {
      std::lock_guard lock(mutex_);
      changed_.notify_all();
    });
  }

  // `reason` is empty for a lane that we wanted closed.
  void note(uint32_t lane, const std::string& reason) {
    std::lock_guard lock(mutex_);
    closed_.insert(lane);
    changed_.notify_all();
    if (watcher_) watcher_(lane, reason);
  }

  bool contains(uint32_t lane) const {
    std::lock_guard lock(mutex_);
    return closed_.contains(lane);
  }

  // Returns whether it is closed, waiting for that until the deadline, an interruption or end().
  bool wait_for(uint32_t lane, Deadline deadline) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline,
                        [&] { return closed_.contains(lane) || interruption_.raised() || ended_; });
    return closed_.contains(lane);
  }

  // Tells `watcher` of every lane from now on, from note(), until end().
  using Watcher = std::function<void(uint32_t lane, const std::string& reason)>;
  void watch(Watcher watcher) {
    std::lock_guard lock(mutex_);
    watcher_ = std::move(watcher);
  }

  // Nobody waits for an answer any more.
  void end() {
    std::lock_guard lock(mutex_);
    watcher_ = nullptr;
    ended_ = true;
    changed_.notify_all();
  }

 private:
  Interruption& interruption_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::set<uint32_t> closed_;
  bool ended_ = false;
  Watcher watcher_;
  Interruption::Hook wake_;
};

}  // namespace godwit
