// SPDX-License-Identifier: Apache-2.0
//
// A thread that repeats a step at a given pace and can really be stopped: when pause() returns, no
// step is under way and none will begin before resume().
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "engine/base/time.h"

namespace godwit {

// Thread: one at a time calls pause(), resume() and the destructor.
class PausableThread {
 public:
  struct Work {
    std::function<void()> step;
    std::function<void()> drain;  // called by the thread after its last step before a pause
    uint64_t steps_per_second;    // 0: as fast as it can
  };

  // Starts paused.
  explicit PausableThread(Work work);
  ~PausableThread();
  PausableThread(const PausableThread&) = delete;
  PausableThread& operator=(const PausableThread&) = delete;

  // Asks for a pause without waiting for it, so that several threads come to rest at the same time.
  void request_pause();
  void pause();
  void resume();

 private:
  enum class Wish : uint8_t { kPause = 1, kRun = 2, kQuit = 3 };

  void set_wish(Wish wish);
  void main();
  void run_steps();
  // Waits until the step number `steps` since `began` is due; false when interrupted first.
  bool wait_for_turn(Clock::time_point began, uint64_t steps);

  const Work work_;
  std::atomic<Wish> wish_ = Wish::kPause;  // written under mutex_, read by every step without it
  std::mutex mutex_;
  std::condition_variable changed_;
  bool resting_ = false;  // guarded by mutex_
  std::thread thread_;    // last: it uses all the others
};

}  // namespace godwit
