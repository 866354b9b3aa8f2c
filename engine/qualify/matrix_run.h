// SPDX-License-Identifier: Apache-2.0
//
// A whole matrix, as whoever coordinates it sees it: tells the members in which rounds to measure
// towards each other, and collects what they found. It moves no page itself.
//
// A member that is lost is named, and left out from then on; a pair that cannot be measured is
// named as well. Neither stops the others.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/control_channel.h"
#include "engine/migration/control_link.h"
#include "engine/migration/interruption.h"
#include "engine/qualify/matrix_report.h"
#include "engine/qualify/tournament.h"
#include "engine/wire/messages.h"

namespace godwit::qualify {

struct MatrixOptions {
  uint64_t memory_bytes = 0;  // at each end of each pair
  uint32_t lanes = 1;
  // Of one direction.
  uint32_t write_ms = 0;
  uint32_t read_ms = 0;
};

// A host that may take part.
struct MatrixCandidate {
  std::string name;                         // for people
  std::vector<std::string> addresses;       // "HOST:PORT": where the others find it; any will do
  std::unique_ptr<ControlChannel> channel;  // null: it could not be reached
  std::string lost;                         // why not
};

// Thread: one; stop() is for any.
class MatrixRun {
 public:
  struct Parts {
    std::vector<MatrixCandidate> hosts;
    std::string software;  // "godwit 0.1.0"
    std::string session;   // Hello::session
    // Told before each round, "round 2 of 7". May be null.
    std::function<void(const std::string& step)> on_step;
    Clock::duration peer_timeout = seconds(10);
  };
  MatrixRun(Parts parts, MatrixOptions options);

  // Errors: kRefused when fewer than two hosts take part; kCancelled.
  Result<MatrixReport> run();

  void stop();

 private:
  // What is between us and a host that takes part.
  struct Member {
    Interruption interruption;
    std::unique_ptr<ControlLink> link;
  };

  void greet_all();
  std::vector<size_t> present() const;
  void measure_rounds(const std::vector<size_t>& hosts);
  // One direction of each pair, all of them at the same time.
  std::vector<Direction> measure(std::vector<Direction> directions, const MeasurePeer& order);
  template <typename Answer>
  std::optional<Answer> take_answer(Direction& direction, Deadline deadline);
  // Requires: the direction has not failed. Returns whether it has not.
  bool send(Direction& direction, const ControlMessage& message);
  void lose(size_t host, const Error& error);
  void note_losses();
  void release_all();
  void tell(const std::string& step);

  const Parts parts_;
  const MatrixOptions options_;
  MatrixReport report_;
  std::vector<std::unique_ptr<Member>> members_;  // one for each host
  Interruption interruption_;
};

}  // namespace godwit::qualify
