// SPDX-License-Identifier: Apache-2.0
//
// The end of a bench that serves: memory on each rail, and lanes into it. It measures nothing,
// unless it serves whoever coordinates a matrix: then it lets somebody else measure
// (matrix_member.h).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/control_channel.h"
#include "engine/migration/control_link.h"
#include "engine/migration/interruption.h"
#include "engine/qualify/bench_admission.h"
#include "engine/qualify/bench_memory.h"
#include "engine/rail.h"
#include "engine/wire/messages.h"

namespace godwit::qualify {

// One bench. Thread: run() by one; stop() by any.
class BenchServer {
 public:
  // Everything referred to outlives this.
  struct Parts {
    const std::vector<Rail>& rails;
    ControlChannel& control;
    // What is known of a rail's link.
    std::function<LinkDescription(const Rail& rail)> describe_link;
    std::string software;  // "godwit 0.1.0"
    BenchAdmission& admission;
    // Told when the peer is let in. May be null.
    std::function<void(const Hello& hello, const BenchAdmission::Place& place)> on_begin = nullptr;
    // Does what whoever coordinates a matrix wants, until that is over. Null: matrices are refused.
    std::function<Status(ControlLink& link, Interruption& interruption, const Hello& hello)>
        take_part = nullptr;
    Clock::duration peer_timeout = seconds(10);
  };
  explicit BenchServer(Parts parts);

  // Returns when the other side has all that it wanted. Errors: also kRefused, by the admission.
  Status run();

  void stop();

  // When it has run: whether it was let in, and not as a part of a matrix that runs here already.
  bool held_the_host() const { return held_the_host_; }

 private:
  Status serve();
  Status serve_bench();
  Status answer(const OpenBench& wanted);

  const Parts parts_;
  Interruption interruption_;
  std::unique_ptr<ControlLink> link_;
  std::vector<BenchMemory> memories_;
  bool held_the_host_ = false;
};

}  // namespace godwit::qualify
