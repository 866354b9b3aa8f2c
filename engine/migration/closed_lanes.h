// SPDX-License-Identifier: Apache-2.0
//
// The lanes of which the destination has said that nothing can arrive any more.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
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
    // The first word on a lane says why it was lost; a second one answers our wish to close it.
    closed_.try_emplace(lane, reason);
    changed_.notify_all();
    if (watcher_) watcher_(lane);
  }

  bool contains(uint32_t lane) const {
    std::lock_guard lock(mutex_);
    return closed_.contains(lane);
  }

  // Returns the reason of one that is closed, waiting for that until the deadline, an interruption
  // or end().
  std::optional<std::string> wait_for(uint32_t lane, Deadline deadline) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline,
                        [&] { return closed_.contains(lane) || interruption_.raised() || ended_; });
    const auto found = closed_.find(lane);
    return found == closed_.end() ? std::nullopt : std::optional(found->second);
  }

  // Tells `watcher` of every lane from now on, from note(), until end().
  using Watcher = std::function<void(uint32_t lane)>;
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
  std::map<uint32_t, std::string> closed_;
  bool ended_ = false;
  Watcher watcher_;
  Interruption::Hook wake_;
};

}  // namespace godwit
