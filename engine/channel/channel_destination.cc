// SPDX-License-Identifier: Apache-2.0
#include "engine/channel/channel_destination.h"

#include "engine/migration/cpu_time.h"

namespace godwit {
namespace {

// The source's VMM says that it is done within moments of its last byte.
constexpr Clock::duration kEndHeardMax = seconds(30);
constexpr Clock::duration kSwitchLookEvery = milliseconds(5);

}  // namespace

ChannelDestination::ChannelDestination(const Parts& parts, const ChannelOptions& options)
    : parts_(parts),
      relay_(
          {.connect = [this](const OpenStream& offer) { return open_guest(offer); },
           .rails = parts.rails,
           .control = parts.control,
           .hand_over = [this](
                            ControlLink& link,
                            Interruption& interruption) { return take_over(link, interruption); },
           .make_requests = parts.guest.page_requests(),
           .meanwhile =
               [this](ControlLink& link, Interruption& interruption, const std::stop_token& stop) {
                 return switch_over(link, interruption, stop);
               }},
          {.software = options.software,
           .purpose = Purpose::kChannel,
           .peer_timeout = options.peer_timeout}) {}

void ChannelDestination::cancel() {
  const std::lock_guard lock(decision_);
  if (!decided_) relay_.stop();
}

MigrationReport ChannelDestination::run() {
  const Clock::time_point begin = Clock::now();
  report_.mode = "channel";
  report_.security = parts_.control.security();
  enter(DestinationState::kWaiting);
  const Result<relay::StreamTraffic> traffic = relay_.run();
  if (!traffic) give_up(traffic.error());
  if (traffic && report_.post_copy) {
    report_.post_copy->faults = report_.post_copy->faults_fetched = traffic->answered_pages;
  }
  report_.session = relay_.session();
  report_.transport = relay_.transport();
  report_.total_ms = to_milliseconds(Clock::now() - begin);
  report_.cpu_seconds = process_cpu_seconds();
  return report_;
}

Result<relay::StreamTarget> ChannelDestination::open_guest(const OpenStream& offer) {
  enter(DestinationState::kNegotiating);
  opened_ = true;
  if (offer.content == StreamContent::kGuestInPostCopy) post_copy_ = PostCopyUse::kPossible;
  ASSIGN_OR_RETURN(relay::StreamTarget target, open_as_possible());
  report_.transport_note = target.note;
  report_.ram_bytes = total_bytes(target.guest);
  enter(DestinationState::kReceiving);
  return target;
}

// A source that wants nothing but post-copy gives up when it hears why there is none.
Result<relay::StreamTarget> ChannelDestination::open_as_possible() {
  Result<relay::StreamTarget> target = parts_.guest.open(post_copy_);
  if (target || post_copy_ == PostCopyUse::kNone || target.error().code != Errc::kRefused)
    return target;
  post_copy_ = PostCopyUse::kNone;
  const std::string why(target.error().text());
  ASSIGN_OR_RETURN(target, parts_.guest.open(post_copy_));
  target->guest.clear();
  target->note = why;
  return target;
}

// In post-copy the VMM has a whole guest in the middle of the stream, which goes on passing.
Status ChannelDestination::switch_over(ControlLink& link, Interruption& interruption,
                                       const std::stop_token& stop) {
  if (post_copy_ == PostCopyUse::kNone) return {};
  const Clock::time_point since = Clock::now();
  bool switched = false;
  while (!switched && !stop.stop_requested() && !interruption.raised()) {
    ASSIGN_OR_RETURN(switched, parts_.guest.wait_switched(deadline_in(kSwitchLookEvery)));
  }
  // It may have been so fast that the stream has ended by now.
  if (!switched) {
    ASSIGN_OR_RETURN(switched, parts_.guest.wait_switched(Deadline{}));
  }
  if (!switched) return {};
  switched_at_ = Clock::now();
  report_.post_copy.emplace();
  enter(DestinationState::kLoadingState);
  {
    // Once *ready* is sent the decision is the source's alone. A lane that is lost has to break the
    // stream all the same, so the interruption stays open.
    const std::lock_guard lock(decision_);
    RETURN_IF_ERROR(interruption.check());
    decided_ = true;
  }
  RETURN_IF_ERROR(start_when_committed(link, to_milliseconds(Clock::now() - since)));
  enter(DestinationState::kPostCopy);
  return {};
}

// As engine/migration's (destination_migration.cc).
Status ChannelDestination::take_over(ControlLink& link, Interruption& interruption) {
  if (report_.post_copy) return finish_post_copy(link);
  RETURN_IF_ERROR(link.expect<MemoryComplete>(deadline_in(kEndHeardMax)));
  enter(DestinationState::kLoadingState);
  // From here on no peer can reach the guest's memory any more.
  relay_.close_lanes();
  const Clock::time_point loading = Clock::now();
  if (const Status loaded = parts_.guest.wait_loaded(); !loaded) {
    (void)link.send(Abort{loaded.error().code, to_string(loaded.error())});
    return loaded;
  }
  // Once *ready* is sent the decision is the source's alone.
  RETURN_IF_ERROR(interruption.seal());
  RETURN_IF_ERROR(start_when_committed(link, to_milliseconds(Clock::now() - loading)));
  report_.status = MigrationStatus::kCompleted;
  enter(DestinationState::kCompleted);
  return {};
}

Status ChannelDestination::start_when_committed(ControlLink& link, double load_ms) {
  enter(DestinationState::kReady);
  RETURN_IF_ERROR(link.send(Ready{.load_ms = load_ms}));
  // In post-copy the stream may break meanwhile, which says nothing of what the source has decided.
  const Result<ControlMessage> commit = link.answer(Deadline::max());
  aborted_by_source_ = link.peer_gave_up();
  RETURN_IF_ERROR(commit);
  if (!std::holds_alternative<Commit>(*commit))
    return fail(Errc::kCorrupt, "the source sent {} instead of its decision", name_of(*commit));
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
  return {};
}

// The VMM has everything when its stream has ended.
Status ChannelDestination::finish_post_copy(ControlLink& link) {
  RETURN_IF_ERROR(parts_.guest.wait_loaded());
  report_.post_copy->ms = to_milliseconds(Clock::now() - switched_at_);
  report_.status = MigrationStatus::kCompleted;
  enter(DestinationState::kCompleted);
  // A source that is gone by now is in doubt; the guest runs, and is whole.
  (void)link.send(FetchComplete{});
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
    report_.post_copy.reset();  // whether it ever began is what is not known
    report_.status = MigrationStatus::kInDoubt;
    return enter(DestinationState::kInDoubt);
  }
  if (state_ == DestinationState::kRunning || state_ == DestinationState::kPostCopy) {
    // Not in doubt, but not over either.
    report_.status = MigrationStatus::kInDoubt;
    report_.error =
        fail(Errc::kInDoubt,
             "{}; the guest runs, and waits where it touches memory that is missing: QEMU's "
             "post-copy is paused and can go on through `godwit relay` (docs/channel.md)",
             to_string(error))
            .value();
    return;
  }
  report_.post_copy.reset();
  if (opened_) (void)parts_.guest.abandon();
  report_.status = status_before_commit(error);
  enter(DestinationState::kFailed);
}

void ChannelDestination::enter(DestinationState state) {
  state_ = state;
  parts_.observer.on_state(to_string(state));
}

}  // namespace godwit
