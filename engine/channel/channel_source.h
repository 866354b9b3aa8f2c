// SPDX-License-Identifier: Apache-2.0
//
// A guest that its VMM moves by itself, at the host that it leaves.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/channel_guest.h"
#include "engine/control_channel.h"
#include "engine/migration/observer.h"
#include "engine/migration/options.h"
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
  // Of the source. The VMM's own; where guest memory is in reach, what it asks for is read from it.
  PostCopy post_copy = PostCopy::kNever;
};

// In post-copy the guest is handed over in the middle of the stream:
//
//   1. It stands still, by our word: whatever the VMM makes of its migration from now on, it does
//      not let the guest go on. The VMM then sends device state, and is bound to serve what is
//      missing.
//   2. The VMM at the destination loads that and does not run it; its agent says *ready*.
//   3. The commit is written down and sent. Until then every failure, of the stream, too, gives the
//      guest back: the VMM's post-copy is undone (ChannelSourceGuest::resume()).
//   4. The guest runs there. A stream that breaks now pauses the VMMs' post-copy, which they can go
//      on with by another one. Nothing is resumed here.
//   5. When the VMMs are through, and the destination says so, the source is released.
//
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
  relay::RelaySource::Parts relay_parts();
  Status agree_on_post_copy();
  void note_memory();
  Result<std::vector<PageChannel*>> begin();
  Status wait_for_vmm();
  Status follow(const ChannelProgress& progress);
  Status fail_migration(const ChannelProgress& progress);
  Status switch_when_due(const ChannelProgress& progress);
  void tell_progress(const ChannelProgress& progress);
  Status hand_over();
  Status hand_over_in_post_copy(const ChannelProgress& progress);
  Status commit();
  Status decide();
  Status finish_post_copy();
  bool is_given_away() const;
  void give_up(const Error& error);
  void enter(SourceState state);

  const Parts parts_;
  const ChannelOptions options_;
  std::mutex link_turn_;  // who uses the link while the stream passes
  relay::RelaySource relay_;
  std::mutex decision_;
  bool decided_ = false;    // the guest is given away, or about to be
  PostCopy post_copy_;      // that is possible
  bool switching_ = false;  // to post-copy
  MigrationReport report_;
  SourceState state_ = SourceState::kConnecting;
  Clock::time_point begin_;
  Clock::time_point streaming_since_;
  Clock::time_point switched_at_;
};

}  // namespace godwit
