// SPDX-License-Identifier: Apache-2.0
//
// Ends the process, saying what it was doing, when something takes too long. A migration that hangs
// has threads that cannot be joined, so there is nothing gentler.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "engine/base/time.h"

namespace godwit {

class Watchdog {
 public:
  Watchdog(std::string what, Clock::duration limit);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void main(Deadline deadline);

  const std::string what_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace godwit
