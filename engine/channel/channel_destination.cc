// SPDX-License-Identifier: Apache-2.0
#include "engine/channel/channel_destination.h"

#include "engine/migration/cpu_time.h"

namespace godwit {
namespace {

// The source's VMM says that it is done within moments of its last byte.
constexpr Clock::duration kEndHeardMax = seconds(30);

}  // namespace

ChannelDestination::ChannelDestination(const Parts& parts, const ChannelOptions& options)
    : parts_(parts),
      relay_({.connect = [this](const OpenStream&) { return open_guest(); },
              .rails = parts.rails,
              .control = parts.control,
              .hand_over =
                  [this](ControlLink& link, Interruption& interruption) {
                    return take_over(link, interruption);
                  }},
             {.software = options.software,
              .purpose = Purpose::kChannel,
              .peer_timeout = options.peer_timeout}) {}

MigrationReport ChannelDestination::run() {
  const Clock::time_point begin = Clock::now();
  report_.mode = "channel";
  report_.security = parts_.control.security();
  enter(DestinationState::kWaiting);
  const Result<relay::StreamTraffic> traffic = relay_.run();
  if (!traffic) give_up(traffic.error());
  report_.session = relay_.session();
  report_.transport = relay_.transport();
  report_.total_ms = to_milliseconds(Clock::now() - begin);
  report_.cpu_seconds = process_cpu_seconds();
  return report_;
}

Result<relay::StreamTarget> ChannelDestination::open_guest() {
  enter(DestinationState::kNegotiating);
  opened_ = true;
  ASSIGN_OR_RETURN(relay::StreamTarget target, parts_.guest.open());
  report_.transport_note = target.note;
  report_.ram_bytes = total_bytes(target.guest);
  enter(DestinationState::kReceiving);
  return target;
}

// As engine/migration's (destination_migration.cc).
Status ChannelDestination::take_over(ControlLink& link, Interruption& interruption) {
  enter(DestinationState::kLoadingState);
  RETURN_IF_ERROR(link.expect<MemoryComplete>(deadline_in(kEndHeardMax)));
  // From here on no peer can reach the guest's memory any more.
  relay_.close_lanes();
  const Clock::time_point loading = Clock::now();
  if (const Status loaded = parts_.guest.wait_loaded(); !loaded) {
    (void)link.send(Abort{loaded.error().code, to_string(loaded.error())});
    return loaded;
  }
  // Once *ready* is sent the decision is the source's alone.
  RETURN_IF_ERROR(interruption.seal());
  enter(DestinationState::kReady);
  RETURN_IF_ERROR(link.send(Ready{.load_ms = to_milliseconds(Clock::now() - loading)}));
  const Result<Commit> commit = link.expect<Commit>(Deadline::max());
  aborted_by_source_ = link.peer_gave_up();
  RETURN_IF_ERROR(commit);
  const Status recorded = parts_.commit_log.record_commit();
  enter(DestinationState::kCommitted);
  if (!recorded) return give_back(link, recorded.error());
  const Clock::time_point starting = Clock::now();
  const Status started = parts_.guest.start();
  if (!started && started.error().code == Errc::kPeerLost) {
    RETURN_IF_ERROR(parts_.commit_log.record_return());
    return give_back(link, started.error());
  }
  if (!started) {
    // This side owns the guest and could not start it. Tell the source, but never give it back.
    (void)link.send(Abort{started.error().code, to_string(started.error())});
    return started;
  }
  enter(DestinationState::kRunning);
  // A source that is gone by now is in doubt; the guest runs.
  (void)link.send(Running{.start_ms = to_milliseconds(Clock::now() - starting)});
  report_.status = MigrationStatus::kCompleted;
  enter(DestinationState::kCompleted);
  return {};
}

// The guest was never told to run here, and our session does not say that it is ours.
Status ChannelDestination::give_back(ControlLink& link, const Error& error) {
  given_back_ = true;
  (void)link.send(Returned{to_string(error)});
  return tl::unexpected<Error>(error);
}

void ChannelDestination::give_up(const Error& error) {
  report_.error = error;
  const bool undecided = state_ == DestinationState::kReady && !aborted_by_source_;
  if (undecided || (state_ == DestinationState::kCommitted && !given_back_)) {
    report_.status = MigrationStatus::kInDoubt;
    return enter(DestinationState::kInDoubt);
  }
  if (opened_) (void)parts_.guest.abandon();
  report_.status = status_before_commit(error);
  enter(DestinationState::kFailed);
}

void ChannelDestination::enter(DestinationState state) {
  state_ = state;
  parts_.observer.on_state(to_string(state));
}

}  // namespace godwit
