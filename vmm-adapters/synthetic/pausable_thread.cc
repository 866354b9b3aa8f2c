// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/synthetic/pausable_thread.h"

#include <utility>

namespace godwit {

PausableThread::PausableThread(Work work) : work_(std::move(work)), thread_([this] { main(); }) {}

PausableThread::~PausableThread() {
  set_wish(Wish::kQuit);
  thread_.join();
}

void PausableThread::request_pause() {
  set_wish(Wish::kPause);
}

void PausableThread::pause() {
  request_pause();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return resting_; });
}

void PausableThread::resume() {
  // A pause() that follows at once must wait for the thread to come to rest again, not for its old
  // rest.
  std::unique_lock lock(mutex_);
  wish_ = Wish::kRun;
  resting_ = false;
  changed_.notify_all();
}

void PausableThread::set_wish(Wish wish) {
  std::unique_lock lock(mutex_);
  wish_ = wish;
  changed_.notify_all();
}

void PausableThread::main() {
  std::unique_lock lock(mutex_);
  while (wish_ != Wish::kQuit) {
    if (wish_ == Wish::kPause) {
      resting_ = true;
      changed_.notify_all();
      changed_.wait(lock, [this] { return wish_ != Wish::kPause || !resting_; });
      continue;
    }
    lock.unlock();
    run_steps();
    lock.lock();
  }
}

void PausableThread::run_steps() {
  const Clock::time_point began = Clock::now();
  for (uint64_t steps = 0; wish_ == Wish::kRun; ++steps) {
    if (work_.steps_per_second > 0 && !wait_for_turn(began, steps)) break;
    work_.step();
  }
  if (work_.drain) work_.drain();
}

bool PausableThread::wait_for_turn(Clock::time_point began, uint64_t steps) {
  const auto due =
      began + duration_cast<Clock::duration>(std::chrono::duration<double>(
                  static_cast<double>(steps) / static_cast<double>(work_.steps_per_second)));
  if (Clock::now() >= due) return true;
  std::unique_lock lock(mutex_);
  return !changed_.wait_until(lock, due, [this] { return wish_ != Wish::kRun; });
}

}  // namespace godwit
