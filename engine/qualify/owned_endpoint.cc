// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/owned_endpoint.h"

#include <utility>

#include "engine/base/check.h"
#include "engine/numa/thread_binding.h"

namespace godwit::qualify {

OwnedEndpoint::OwnedEndpoint(std::unique_ptr<Endpoint> endpoint, numa::CpuList cpus)
    : endpoint_(std::move(endpoint)),
      thread_([this, allowed = std::move(cpus)](const std::stop_token& stop) {
        // Where it may not run there, it runs somewhere else, as a migration's lane would.
        (void)numa::bind_this_thread(allowed);
        run_tasks(stop);
      }) {}

OwnedEndpoint::~OwnedEndpoint() {
  wait();
  thread_.request_stop();
  thread_.join();
}

void OwnedEndpoint::start(std::function<void()> task) {
  std::lock_guard lock(mutex_);
  CHECK(!task_);
  task_ = std::move(task);
  changed_.notify_all();
}

void OwnedEndpoint::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !task_; });
}

void OwnedEndpoint::run_tasks(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [this] { return static_cast<bool>(task_); })) {
    lock.unlock();
    task_();
    lock.lock();
    task_ = nullptr;
    changed_.notify_all();
  }
  // What it still had under way is its thread's to end.
  endpoint_.reset();
}

}  // namespace godwit::qualify
