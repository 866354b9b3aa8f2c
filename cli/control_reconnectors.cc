// SPDX-License-Identifier: Apache-2.0
#include "cli/control_reconnectors.h"

#include "cli/console.h"
#include "cli/peer_listener.h"
#include "transports/control/control_connect.h"

namespace godwit::cli {

Result<std::unique_ptr<SourceReconnector>> SourceReconnector::make(
    std::string address, const ControlSecurity& security) {
  ASSIGN_OR_RETURN(WakeEvent stopped, WakeEvent::make());
  return std::unique_ptr<SourceReconnector>(
      new SourceReconnector(std::move(address), security, std::move(stopped)));
}

Result<std::unique_ptr<ControlChannel>> SourceReconnector::next(Deadline deadline) {
  return connect_control(address_, security_, deadline, stopped_.fd());
}

Result<std::unique_ptr<ControlChannel>> DestinationReconnector::next(Deadline deadline) {
  ControlListener* listener = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return fail(Errc::kCancelled, "not waited for any more");
    if (listener_ == nullptr) {
      ASSIGN_OR_RETURN(listener_, listen_for_peers(address_, security_));
    }
    listener = listener_.get();
  }
  ASSIGN_OR_RETURN(std::unique_ptr<ControlConnection> connection, listener->accept(deadline));
  return std::unique_ptr<ControlChannel>(std::move(connection));
}

void DestinationReconnector::stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  if (listener_ != nullptr) listener_->shut_down();
}

}  // namespace godwit::cli
