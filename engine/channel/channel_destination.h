// SPDX-License-Identifier: Apache-2.0
//
// A guest that its VMM moves by itself, at the host that it comes to.
#pragma once

#include <mutex>
#include <stop_token>
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

// In post-copy it is handed over beside the stream that passes (channel_source.h).
//
// Thread: run() by one, cancel() by any. The observer and the log are called by one at a time, in
// post-copy not always by run()'s.
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
  void cancel();

  // The source's name for it; empty as long as it has not said it. Thread: run()'s.
  const std::string& session() const { return relay_.session(); }

 private:
  Result<relay::StreamTarget> open_guest(const OpenStream& offer);
  Result<relay::StreamTarget> open_as_possible();
  Status switch_over(ControlLink& link, Interruption& interruption, const std::stop_token& stop);
  Status take_over(ControlLink& link, Interruption& interruption);
  Status start_when_committed(ControlLink& link, double load_ms);
  Status finish_post_copy(ControlLink& link);
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
  PostCopyUse post_copy_ = PostCopyUse::kNone;
  Clock::time_point switched_at_;
  std::mutex decision_;
  bool decided_ = false;  // ready was said, in post-copy
};

}  // namespace godwit
