// SPDX-License-Identifier: Apache-2.0
//
// The end of a bench that serves: memory on each rail, and lanes into it. It measures nothing.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/control_channel.h"
#include "engine/migration/control_link.h"
#include "engine/migration/interruption.h"
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
    Clock::duration peer_timeout = seconds(10);
  };
  explicit BenchServer(Parts parts);

  // Returns when the other side has measured all that it wanted.
  Status run();

  void stop();

 private:
  Status serve();
  Status answer(const OpenBench& wanted);

  const Parts parts_;
  Interruption interruption_;
  std::unique_ptr<ControlLink> link_;
  std::vector<BenchMemory> memories_;
};

}  // namespace godwit::qualify
