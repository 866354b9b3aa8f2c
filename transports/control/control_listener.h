// SPDX-License-Identifier: Apache-2.0
//
// The destination's end of the control connection: waits for the one peer that can prove who it is.
// Whoever else connects meanwhile costs little (64 KiB of memory and 5 seconds each, 32 at a time)
// and delays nobody: all of them are served by one poll loop that waits for no single one.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/base/unique_fd.h"
#include "engine/base/wake_event.h"
#include "transports/control/control_connection.h"
#include "transports/control/control_security.h"
#include "transports/control/handshake.h"

namespace godwit {

inline constexpr size_t kPendingPeersMax = 32;
inline constexpr seconds kPendingPeerPatience{5};

struct ControlListenerOptions {
  // Told, by the accepting thread, about every peer that was turned away, and why.
  std::function<void(std::string_view reason)> on_rejection;
  Clock::duration pending_patience = kPendingPeerPatience;
};

class ControlListener {
 public:
  static Result<std::unique_ptr<ControlListener>> listen(const std::string& address,
                                                         const ControlSecurity& security,
                                                         ControlListenerOptions options = {});
  ~ControlListener();
  ControlListener(const ControlListener&) = delete;
  ControlListener& operator=(const ControlListener&) = delete;

  // "HOST:PORT" with the port really bound.
  const std::string& address() const { return address_; }

  // Returns the first peer that has authenticated itself. Destroy the listener then, so that others
  // learn at once that they are too late. Errors: kTimeout, kCancelled after shut_down().
  Result<std::unique_ptr<ControlConnection>> accept(Deadline deadline);

  // Thread: any.
  void shut_down();

 private:
  struct PendingPeer;

  ControlListener(UniqueFd socket, WakeEvent stop_event, control::HandshakeTerms terms);
  Status wait_for_events(Deadline deadline);
  Status take_new_peers();
  void admit(UniqueFd socket, std::string peer);
  void reject(PendingPeer& pending, std::string_view reason);
  void serve(PendingPeer& pending);
  void expire_peers();
  Deadline earliest_deadline(Deadline deadline) const;

  UniqueFd socket_;
  WakeEvent stop_event_;
  control::HandshakeTerms terms_;
  ControlListenerOptions options_;
  std::string address_;
  std::list<PendingPeer> pending_;  // in the order of their arrival
  std::unique_ptr<ControlConnection> accepted_;
};

}  // namespace godwit
