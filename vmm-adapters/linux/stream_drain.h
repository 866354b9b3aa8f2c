// SPDX-License-Identifier: Apache-2.0
//
// Reads what comes by a socket and throws it away, so that whoever writes it neither waits nor
// finds nobody there.
#pragma once

#include <thread>

namespace godwit {

// Thread: any; it has one of its own. Ends with the socket's end, or its own.
class StreamDrain {
 public:
  // Ownership: the socket outlives this.
  explicit StreamDrain(int socket);

 private:
  std::jthread thread_;
};

}  // namespace godwit
