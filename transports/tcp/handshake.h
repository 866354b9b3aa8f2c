// SPDX-License-Identifier: Apache-2.0
//
// How a lane begins: whoever connects presents the lane's ticket (kHello), and is answered
// (kWelcome) or closed. Until then a connection costs a descriptor and 68 bytes.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/base/unique_fd.h"
#include "engine/transport.h"
#include "transports/tcp/frames.h"

namespace godwit {

// Presents the ticket and waits for the answer. Errors: kRefused when the other side closes.
Status greet(int socket, const LaneTicket& ticket, Deadline deadline);

// Answers a right ticket.
Status welcome(int socket, Deadline deadline);

// A connection that has not shown its ticket yet.
class Newcomer {
 public:
  Newcomer(UniqueFd socket, Deadline deadline) : socket_(std::move(socket)), deadline_(deadline) {}

  int socket() const { return socket_.get(); }
  Deadline deadline() const { return deadline_; }
  UniqueFd take_socket() { return std::move(socket_); }

  // Reads what is there. Returns the ticket once it is complete. Errors: it is not one of ours.
  Result<std::optional<LaneTicket>> read_ticket();

 private:
  UniqueFd socket_;
  Deadline deadline_;
  std::array<std::byte, kFrameHeaderBytes + kHelloBodyBytes> bytes_;
  size_t received_bytes_ = 0;
};

}  // namespace godwit
