// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/watchdog.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace godwit {

Watchdog::Watchdog(std::string what, Clock::duration limit)
    : what_(std::move(what)), thread_([this, deadline = deadline_in(limit)] { main(deadline); }) {}

Watchdog::~Watchdog() {
  {
    std::lock_guard lock(mutex_);
    done_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void Watchdog::main(Deadline deadline) {
  std::unique_lock lock(mutex_);
  if (changed_.wait_until(lock, deadline, [this] { return done_; })) return;
  std::fprintf(stderr, "hangs: %s\n", what_.c_str());
  std::abort();
}

}  // namespace godwit
