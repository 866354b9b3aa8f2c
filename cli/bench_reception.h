// SPDX-License-Identifier: Apache-2.0
//
// A host that serves benches: takes in whoever connects, each in a thread of its own, and lets one
// bench or one matrix run at a time (engine/qualify/bench_admission.h). In a matrix it measures
// towards other hosts, too.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "cli/agent_options.h"
#include "cli/interrupt_watcher.h"
#include "engine/qualify/bench_admission.h"
#include "engine/qualify/bench_server.h"
#include "transports/control/control_listener.h"

namespace godwit::cli {

// Thread: take_all() and wait() by one; stop() by any.
class BenchReception {
 public:
  struct Options {
    const AgentOptions& agent;
    std::string lane_listen;  // empty: where the peer came in
    const InterruptWatcher& interrupts;
    // What a person at this host may want to read. Called by several threads.
    std::function<void(std::string_view text)> tell;
    // A bench or a matrix was let in, and has ended; not those that are part of a matrix.
    std::function<void()> on_begin;
    std::function<void(const Status& served)> on_end;
    std::function<void()> on_refused;  // somebody who came while another was here
  };
  explicit BenchReception(Options options);
  // Waits for those that run.
  ~BenchReception() = default;
  BenchReception(const BenchReception&) = delete;
  BenchReception& operator=(const BenchReception&) = delete;

  // Returns when the listener was shut down. Errors: it can listen no more.
  Status take_all(ControlListener& listener);

  // Ends what runs; nothing begins any more.
  void stop();

  // Of the last one that on_end was told of, when everybody has gone.
  Status wait();

 private:
  struct Visitor {
    std::unique_ptr<ControlConnection> control;
    qualify::BenchServer* server = nullptr;  // while it runs; under mutex_
    bool ended = false;                      // under mutex_
    std::jthread thread;
  };

  void take(std::unique_ptr<ControlConnection> control);
  void serve(Visitor& visitor);
  Status serve_with_rails(Visitor& visitor);
  void set_running(Visitor& visitor, qualify::BenchServer* server);
  void begin(const Visitor& visitor, const Hello& hello) const;
  void reap();

  const Options options_;
  qualify::BenchAdmission admission_;
  std::mutex mutex_;
  bool stopped_ = false;
  Status last_ = {};
  std::list<Visitor> visitors_;
};

}  // namespace godwit::cli
