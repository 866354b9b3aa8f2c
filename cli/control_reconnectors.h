// SPDX-License-Identifier: Apache-2.0
//
// How a control connection that is lost in post-copy comes back: the source connects again to where
// it went, the destination listens again where it was found.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "engine/base/wake_event.h"
#include "engine/control_channel.h"
#include "transports/control/control_listener.h"
#include "transports/control/control_security.h"

namespace godwit::cli {

class SourceReconnector final : public ControlReconnector {
 public:
  static Result<std::unique_ptr<SourceReconnector>> make(std::string address,
                                                         const ControlSecurity& security);

  Result<std::unique_ptr<ControlChannel>> next(Deadline deadline) override;
  void stop() override { stopped_.raise(); }

 private:
  SourceReconnector(std::string address, const ControlSecurity& security, WakeEvent stopped)
      : address_(std::move(address)), security_(security), stopped_(std::move(stopped)) {}

  const std::string address_;
  const ControlSecurity security_;
  const WakeEvent stopped_;
};

class DestinationReconnector final : public ControlReconnector {
 public:
  // `address` with the port that was really bound.
  DestinationReconnector(std::string address, const ControlSecurity& security)
      : address_(std::move(address)), security_(security) {}

  Result<std::unique_ptr<ControlChannel>> next(Deadline deadline) override;
  void stop() override;

 private:
  const std::string address_;
  const ControlSecurity security_;
  std::mutex mutex_;
  std::unique_ptr<ControlListener> listener_;  // made when it is first needed
  bool stopped_ = false;
};

}  // namespace godwit::cli
