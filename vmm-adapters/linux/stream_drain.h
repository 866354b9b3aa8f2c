// SPDX-License-Identifier: Apache-2.0
//
// Reads what comes by a socket and throws it away, so that whoever writes it neither waits nor
// finds nobody there.
#pragma once

#include <thread>

#include "engine/base/time.h"

namespace godwit {

// Thread: any; it has one of its own. Ends with the socket's end, or its own.
class StreamDrain {
 public:
  // Ownership: the socket outlives this. At the deadline it is shut down.
  explicit StreamDrain(int socket, Deadline deadline = Deadline::max());

  // Returns when the socket has ended. Once.
  void wait() { thread_.join(); }

 private:
  std::jthread thread_;
};

}  // namespace godwit
