// SPDX-License-Identifier: Apache-2.0
//
// A guest that its VMM moves by itself, at the host that it leaves.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/channel_guest.h"
#include "engine/control_channel.h"
#include "engine/migration/observer.h"
#include "engine/migration/states.h"
#include "engine/rail.h"
#include "engine/relay/relay_source.h"
#include "engine/report.h"

namespace godwit {

struct ChannelOptions {
  std::string session;   // 16 hex digits; of the source
  std::string software;  // "godwit 0.1.0"
  Clock::duration peer_timeout = seconds(10);
  // By which the VMM sends pages, where they can go from memory to memory; 0: by its stream. At
  // most relay::kPageLanesMax; none: as many as the guest's VMM is best with.
  std::optional<size_t> page_channels = {};
};

// Thread: run() by one, cancel() by any.
class ChannelSource {
 public:
  // Everything referred to outlives this.
  struct Parts {
    ChannelSourceGuest& guest;
    const std::vector<Rail>& rails;
    ControlChannel& control;
    MigrationObserver& observer;
    CommitLog& commit_log;
  };
  ChannelSource(const Parts& parts, ChannelOptions options);

  // Returns when it is over, with the guest running in one place, or in doubt.
  MigrationReport run();

  // Has no effect after the commit.
  void cancel();

 private:
  Status migrate();
  Result<std::vector<PageChannel*>> begin();
  Status wait_for_vmm();
  void tell_progress(const ChannelProgress& progress);
  Status hand_over();
  void give_up(const Error& error);
  void enter(SourceState state);

  const Parts parts_;
  const ChannelOptions options_;
  relay::RelaySource relay_;
  MigrationReport report_;
  SourceState state_ = SourceState::kConnecting;
  Clock::time_point begin_;
  Clock::time_point streaming_since_;
};

}  // namespace godwit
