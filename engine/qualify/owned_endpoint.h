// SPDX-License-Identifier: Apache-2.0
//
// An endpoint with the one thread that may use it, for as long as it lives: one measurement after
// the other is given to that thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "engine/numa/cpu_list.h"
#include "engine/transport.h"

namespace godwit::qualify {

// Thread: one.
class OwnedEndpoint {
 public:
  // The thread runs on these CPUs; none: wherever it likes.
  OwnedEndpoint(std::unique_ptr<Endpoint> endpoint, numa::CpuList cpus);
  // Waits for what runs.
  ~OwnedEndpoint();
  OwnedEndpoint(const OwnedEndpoint&) = delete;
  OwnedEndpoint& operator=(const OwnedEndpoint&) = delete;

  // Begins `task` in the endpoint's thread. Requires: none is running.
  void start(std::function<void()> task);
  // Returns when none is running.
  void wait();

  // For tasks alone.
  Endpoint& endpoint() const { return *endpoint_; }

 private:
  void run_tasks(const std::stop_token& stop);

  std::unique_ptr<Endpoint> endpoint_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::function<void()> task_;  // while it is there, it runs or will
  std::jthread thread_;
};

}  // namespace godwit::qualify
