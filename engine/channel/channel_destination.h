// SPDX-License-Identifier: Apache-2.0
//
// A guest that its VMM moves by itself, at the host that it comes to.
#pragma once

#include <string>
#include <vector>

#include "engine/channel/channel_source.h"
#include "engine/channel_guest.h"
#include "engine/control_channel.h"
#include "engine/migration/observer.h"
#include "engine/migration/states.h"
#include "engine/rail.h"
#include "engine/relay/relay_destination.h"
#include "engine/report.h"

namespace godwit {

// Thread: run() by one, cancel() by any.
class ChannelDestination {
 public:
  // Everything referred to outlives this.
  struct Parts {
    ChannelDestinationGuest& guest;
    const std::vector<Rail>& rails;
    ControlChannel& control;
    MigrationObserver& observer;
    CommitLog& commit_log;
  };
  ChannelDestination(const Parts& parts, const ChannelOptions& options);

  MigrationReport run();

  // Has no effect once this side has said that it is ready.
  void cancel() { relay_.stop(); }

  // The source's name for it; empty as long as it has not said it. Thread: run()'s.
  const std::string& session() const { return relay_.session(); }

 private:
  Result<relay::StreamTarget> open_guest();
  Status take_over(ControlLink& link, Interruption& interruption);
  Status give_back(ControlLink& link, const Error& error);
  void give_up(const Error& error);
  void enter(DestinationState state);

  const Parts parts_;
  relay::RelayDestination relay_;
  MigrationReport report_;
  DestinationState state_ = DestinationState::kWaiting;
  bool opened_ = false;
  bool given_back_ = false;
  bool aborted_by_source_ = false;
};

}  // namespace godwit
