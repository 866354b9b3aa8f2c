// SPDX-License-Identifier: Apache-2.0
//
// The one reason why a migration stops early: a cancel, a lost peer, a failed lane. Whoever learns
// of one first raises it; everybody who might be waiting is woken and sees the same Error.
//
// seal() closes the door: it is what makes "cancel" and "commit" exclude each other. After a
// successful seal nothing can be raised any more, and before it a raised error makes seal() fail.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>

#include "engine/base/result.h"

namespace godwit {

// Thread: any.
class Interruption {
 public:
  // Wakes one waiter while it exists. When its destructor returns the hook is not running and will
  // not run again.
  class Hook {
   public:
    Hook() = default;
    Hook(Hook&& other) noexcept;
    Hook& operator=(Hook&& other) noexcept;
    Hook(const Hook&) = delete;
    Hook& operator=(const Hook&) = delete;
    ~Hook();

   private:
    friend class Interruption;
    Hook(Interruption* owner, uint64_t id) : owner_(owner), id_(id) {}
    Interruption* owner_ = nullptr;
    uint64_t id_ = 0;
  };

  // The first error wins; later ones, and all after seal(), are ignored. Runs the hooks.
  void raise(const Error& error);

  bool raised() const { return raised_.load(std::memory_order_acquire); }

  // The raised error, or success.
  Status check() const;

  // Why a migration ended with `error`: a cancel, where there was one, since it wakes the peer as
  // well, and what comes back from there may be seen first.
  Error cause_of(const Error& error) const;

  // From now on nothing can be raised. Fails with the error that was raised before.
  Status seal();

  // Runs `wake` when an error is raised, at once if it already was. It must not block, nor call
  // back into this object.
  [[nodiscard]] Hook on_raise(std::function<void()> wake);

 private:
  mutable std::mutex mutex_;
  Error error_{};
  bool sealed_ = false;
  std::atomic<bool> raised_{false};
  uint64_t next_id_ = 1;
  std::map<uint64_t, std::function<void()>> hooks_;
};

}  // namespace godwit
