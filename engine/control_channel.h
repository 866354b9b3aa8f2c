// SPDX-License-Identifier: Apache-2.0
//
// INTERFACE: the one control connection between the two agents of a migration. It carries the
// handshake, the layout, keys, device state and the ownership protocol; pages travel on lanes
// (transport.h). Whoever implements it answers for authentication and secrecy.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"

namespace godwit {

// A control message longer than this is refused by both ends.
inline constexpr size_t kControlMessageBytesMax = 4 << 20;

// Thread: one thread may send while another receives; shut_down() is for any thread.
// Errors: any Error but kTimeout means the channel is dead.
class ControlChannel {
 public:
  virtual ~ControlChannel() = default;
  ControlChannel(const ControlChannel&) = delete;
  ControlChannel& operator=(const ControlChannel&) = delete;

  // Sends one message, whole and in order.
  virtual Status send(std::span<const std::byte> message, Deadline deadline) = 0;

  // Returns the next message. kTimeout leaves the channel alive, and nothing half-read.
  virtual Result<std::vector<std::byte>> receive(Deadline deadline) = 0;

  // The one-time token for a lane, the same at both ends and known to nobody else (TLS 1.3
  // exporter, RFC 8446 section 7.5).
  virtual Result<std::array<std::byte, 32>> lane_token(uint32_t lane) const = 0;

  // "TLS 1.3, pre-shared key", "none (insecure)": for the report.
  virtual std::string security() const = 0;

  // "HOST:PORT" of the other end.
  virtual std::string peer_address() const = 0;

  virtual void shut_down() = 0;

 protected:
  ControlChannel() = default;
};

// Replaces a control connection that was lost while the guest's memory is still on both hosts: the
// source connects again, the destination listens on.
//
// Thread: next() by one; stop() by any.
class ControlReconnector {
 public:
  virtual ~ControlReconnector() = default;
  ControlReconnector(const ControlReconnector&) = delete;
  ControlReconnector& operator=(const ControlReconnector&) = delete;

  // Returns a new connection with an authenticated peer; which session it is for, it says itself.
  // Errors: kTimeout, or kPeerLost when there was no way now: try again, after a pause.
  virtual Result<std::unique_ptr<ControlChannel>> next(Deadline deadline) = 0;

  // next() returns kCancelled from then on.
  virtual void stop() = 0;

 protected:
  ControlReconnector() = default;
};

}  // namespace godwit
