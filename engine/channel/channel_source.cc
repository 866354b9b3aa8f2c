// SPDX-License-Identifier: Apache-2.0
#include "engine/channel/channel_source.h"

#include <thread>
#include <utility>

#include "engine/channel/post_copy_due.h"
#include "engine/migration/cpu_time.h"

namespace godwit {
namespace {

constexpr Clock::duration kLookEvery = milliseconds(20);
constexpr Clock::duration kProgressEvery = milliseconds(200);
// Loading has no natural limit; a dead destination is noticed by the link long before.
constexpr Clock::duration kLoadMax = seconds(60);
constexpr Clock::duration kReasonPatience = milliseconds(500);
constexpr Clock::duration kStartMax = seconds(30);
// While post-copy is about to begin.
constexpr Clock::duration kLookOftenEvery = milliseconds(2);
// What the destination's VMM says last arrives before what its agent says.
constexpr Clock::duration kCompleteMax = seconds(60);

}  // namespace

ChannelSource::ChannelSource(const Parts& parts, ChannelOptions options)
    : parts_(parts),
      options_(std::move(options)),
      relay_(relay_parts(), options_.session,
             {.software = options_.software,
              .purpose = Purpose::kChannel,
              .peer_timeout = options_.peer_timeout}),
      post_copy_(options_.post_copy) {}

// Where post-copy is possible nothing is placed: the VMM gives memory back before it.
relay::RelaySource::Parts ChannelSource::relay_parts() {
  relay::RelaySource::Parts parts{
      .stream = parts_.guest.stream(), .rails = parts_.rails, .control = parts_.control};
  if (options_.post_copy == PostCopy::kNever) {
    parts.content = StreamContent::kGuest;
    parts.make_extractor = parts_.guest.page_extractor();
    parts.guest = parts_.guest.memory();
  } else {
    parts.content = StreamContent::kGuestInPostCopy;
    parts.requested = parts_.guest.memory();
    parts.await_link = [this] { const std::lock_guard turn(link_turn_); };
  }
  return parts;
}

void ChannelSource::cancel() {
  const std::lock_guard lock(decision_);
  if (!decided_)
    relay_.interruption().raise(fail(Errc::kCancelled, "cancelled on the source").value());
}

MigrationReport ChannelSource::run() {
  begin_ = Clock::now();
  report_.mode = "channel";
  report_.session = options_.session;
  report_.security = parts_.control.security();
  const Status status = migrate();
  if (!status) give_up(relay_.interruption().cause_of(status.error()));
  report_.total_ms = to_milliseconds(Clock::now() - begin_);
  report_.cpu_seconds = process_cpu_seconds();
  return report_;
}

Status ChannelSource::migrate() {
  enter(SourceState::kConnecting);
  enter(SourceState::kNegotiating);
  RETURN_IF_ERROR(relay_.open());
  report_.transport = relay_.transport();
  const Status agreed = agree_on_post_copy();
  note_memory();
  enter(SourceState::kPrecopy);
  streaming_since_ = Clock::now();
  report_.setup_ms = to_milliseconds(streaming_since_ - begin_);
  const Result<std::vector<PageChannel*>> channels =
      agreed ? begin() : tl::unexpected<Error>(agreed.error());
  if (!channels) {
    // Nothing is carried yet whose end would tell the destination.
    (void)relay_.link().send(Abort{channels.error().code, to_string(channels.error())});
    return tl::unexpected<Error>(channels.error());
  }
  Result<relay::StreamTraffic> traffic;
  {
    std::unique_lock turn(link_turn_);
    const std::jthread carrying([&] { traffic = relay_.carry(*channels); });
    const Status migrated = wait_for_vmm();
    turn.unlock();
    // A stream that has not ended by itself ends here.
    if (!migrated) {
      relay_.interruption().raise(migrated.error());
      // It may be that the VMM's stream must not end before its migration does.
      if (!is_given_away()) (void)parts_.guest.resume();
      return migrated;
    }
  }
  RETURN_IF_ERROR(traffic);
  report_.bytes_sent = traffic->sent_bytes;
  report_.placed_bytes = traffic->placed_bytes;
  if (!traffic->note.empty()) report_.transport_note = traffic->note;
  report_.throughput_bytes_per_s =
      static_cast<double>(report_.bytes_sent) / to_seconds(Clock::now() - streaming_since_);
  return state_ == SourceState::kPostCopy ? finish_post_copy() : hand_over();
}

// What the destination says of a stream in which nothing is placed is why it cannot do it.
Status ChannelSource::agree_on_post_copy() {
  if (post_copy_ == PostCopy::kNever || relay_.note().empty()) return {};
  if (post_copy_ == PostCopy::kNow) return fail(Errc::kRefused, "{}", relay_.note());
  post_copy_ = PostCopy::kNever;
  report_.post_copy_note = relay_.note();
  return {};
}

void ChannelSource::note_memory() {
  if (options_.post_copy != PostCopy::kNever) {
    if (post_copy_ != PostCopy::kNever && parts_.guest.memory() == nullptr)
      report_.transport_note = "in post-copy, " + parts_.guest.memory_note();
  } else if (!relay_.places_pages()) {
    report_.transport_note = relay_.note();
  } else if (parts_.guest.memory() == nullptr) {
    report_.transport_note = parts_.guest.memory_note();
  }
}

// By channels for its pages, where there are lanes for them.
Result<std::vector<PageChannel*>> ChannelSource::begin() {
  const size_t count = options_.page_channels.value_or(parts_.guest.channels_by_default());
  WantedChannels wanted;
  Status lanes;
  if (count > 0) wanted.blocks = relay_.blocks_in_reach();
  if (!wanted.blocks.empty()) lanes = relay_.open_page_lanes(count);
  if (!wanted.blocks.empty() && lanes) wanted.count = count;
  const PostCopyUse post_copy =
      post_copy_ == PostCopy::kNever ? PostCopyUse::kNone : PostCopyUse::kPossible;
  ASSIGN_OR_RETURN(BegunChannels begun, parts_.guest.begin(wanted, post_copy));
  if (!lanes) begun.note = to_string(lanes.error());
  if (!begun.channels.empty()) {
    report_.transport_note =
        fmt::format("pages come by {} channels of QEMU's", begun.channels.size());
    if (!relay_.page_lanes_note().empty())
      report_.transport_note += ", not by all rails: " + relay_.page_lanes_note();
  } else if (!begun.note.empty()) {
    report_.transport_note = "pages come by one channel of QEMU's: " + begun.note;
  }
  return begun.channels;
}

// Until it has written everything.
Status ChannelSource::wait_for_vmm() {
  Clock::time_point told_at;
  while (true) {
    const Clock::time_point looked_at = Clock::now();
    RETURN_IF_ERROR(relay_.interruption().check());
    ASSIGN_OR_RETURN(const ChannelProgress progress, parts_.guest.progress());
    if (looked_at - told_at >= kProgressEvery) {
      told_at = looked_at;
      tell_progress(progress);
    }
    RETURN_IF_ERROR(follow(progress));
    if (progress.state == ChannelProgress::State::kCompleted) return {};
    const bool often =
        state_ == SourceState::kPrecopy && (switching_ || post_copy_ == PostCopy::kNow);
    std::this_thread::sleep_until(looked_at + (often ? kLookOftenEvery : kLookEvery));
  }
}

Status ChannelSource::follow(const ChannelProgress& progress) {
  switch (progress.state) {
    case ChannelProgress::State::kRunning:
      return switch_when_due(progress);
    case ChannelProgress::State::kPostCopy:
      return state_ == SourceState::kPostCopy ? Status{} : hand_over_in_post_copy(progress);
    case ChannelProgress::State::kCompleted:
      // So little was missing that the VMM is through before anybody has looked.
      if (switching_ && progress.in_post_copy && state_ != SourceState::kPostCopy)
        RETURN_IF_ERROR(hand_over_in_post_copy(progress));
      report_.ram_bytes = progress.ram_bytes;
      report_.pages_sent = progress.sent_pages;
      report_.zero_pages = progress.zero_pages;
      if (report_.post_copy) report_.post_copy->faults = progress.requested_pages;
      if (switching_ && !report_.post_copy)
        report_.post_copy_note = "what remained was so little that QEMU sent it without";
      return {};
    case ChannelProgress::State::kBroken:
    case ChannelProgress::State::kFailed:
      return fail_migration(progress);
  }
  return {};
}

Status ChannelSource::fail_migration(const ChannelProgress& progress) {
  RETURN_IF_ERROR(relay_.interruption().check());
  // The other end may know better.
  if (const auto reason = relay_.link().reason_of_peer(deadline_in(kReasonPatience)))
    return tl::unexpected<Error>(*reason);
  return fail(Errc::kGuest, "QEMU could not migrate the guest: {}", progress.error);
}

Status ChannelSource::switch_when_due(const ChannelProgress& progress) {
  if (switching_ || !post_copy_is_due(post_copy_, progress)) return {};
  switching_ = true;
  return parts_.guest.switch_to_post_copy();
}

void ChannelSource::tell_progress(const ChannelProgress& progress) {
  const double elapsed_s = to_seconds(Clock::now() - streaming_since_);
  parts_.observer.on_progress(
      {.phase = state_ == SourceState::kPostCopy ? "post-copy"
                                                 : fmt::format("pre-copy round {}", progress.round),
       .bytes_sent = progress.sent_bytes,
       .bytes_remaining = progress.remaining_bytes,
       .throughput_bytes_per_s =
           elapsed_s > 0 ? static_cast<double>(progress.sent_bytes) / elapsed_s : 0,
       .dirty_bytes_per_s = progress.dirty_bytes_per_s,
       .round = progress.round});
}

// As engine/migration's (source_switchover.cc).
Status ChannelSource::hand_over() {
  enter(SourceState::kAwaitingReady);
  ControlLink& link = relay_.link();
  RETURN_IF_ERROR(link.send(
      MemoryComplete{.pages_written = report_.pages_sent, .zero_pages = report_.zero_pages}));
  RETURN_IF_ERROR(link.expect<Ready>(deadline_in(kLoadMax)));
  // From here on a cancel comes too late; one that came before wins.
  RETURN_IF_ERROR(relay_.interruption().seal());
  RETURN_IF_ERROR(commit());
  report_.status = MigrationStatus::kCompleted;
  enter(SourceState::kCompleted);
  return parts_.guest.release();
}

// While the stream passes, which has to be broken when a lane is, after the commit, too: so the
// interruption stays open.
Status ChannelSource::hand_over_in_post_copy(const ChannelProgress& progress) {
  enter(SourceState::kAwaitingReady);
  switched_at_ = Clock::now();
  report_.post_copy = PostCopyReport{.missing_bytes = progress.remaining_bytes};
  RETURN_IF_ERROR(relay_.link().expect<Ready>(deadline_in(kLoadMax)));
  // A guest whose memory cannot follow is better off here.
  ASSIGN_OR_RETURN(const ChannelProgress now, parts_.guest.progress());
  if (now.state == ChannelProgress::State::kBroken || now.state == ChannelProgress::State::kFailed)
    return fail_migration(now);
  RETURN_IF_ERROR(decide());
  RETURN_IF_ERROR(commit());
  enter(SourceState::kPostCopy);
  return {};
}

// As Interruption::seal().
Status ChannelSource::decide() {
  const std::lock_guard lock(decision_);
  RETURN_IF_ERROR(relay_.interruption().check());
  decided_ = true;
  return {};
}

// On return the guest runs there.
Status ChannelSource::commit() {
  ControlLink& link = relay_.link();
  RETURN_IF_ERROR(parts_.commit_log.record_commit());
  enter(SourceState::kCommitted);
  RETURN_IF_ERROR(link.send(Commit{}));
  const Result<ControlMessage> answer = link.answer(deadline_in(kStartMax));
  if (answer && std::holds_alternative<Returned>(*answer)) {
    RETURN_IF_ERROR(parts_.commit_log.record_return());
    enter(SourceState::kAwaitingReady);
    return fail(Errc::kPeerLost, "the destination could not start the guest and gave it back: {}",
                std::get<Returned>(*answer).reason);
  }
  if (!answer || !std::holds_alternative<Running>(*answer)) {
    return fail(Errc::kInDoubt,
                "the guest was handed over, but whether it runs there is not known ({}); it stays "
                "paused here and must not be resumed unless the destination's guest is gone",
                answer ? "its answer makes no sense" : to_string(answer.error()));
  }
  if (const auto stopped_at = parts_.guest.stopped_at()) {
    report_.downtime_ms = to_milliseconds(Clock::now() - *stopped_at);
    report_.downtime_start_ms = to_milliseconds(*stopped_at - begin_);
  }
  return {};
}

// The stream has ended at both ends, and the VMM here is through.
Status ChannelSource::finish_post_copy() {
  RETURN_IF_ERROR(relay_.link().expect<FetchComplete>(deadline_in(kCompleteMax)));
  (void)relay_.link().send(Released{});
  report_.post_copy->ms = to_milliseconds(Clock::now() - switched_at_);
  report_.status = MigrationStatus::kCompleted;
  enter(SourceState::kCompleted);
  return parts_.guest.release();
}

bool ChannelSource::is_given_away() const {
  return state_ == SourceState::kCommitted || state_ == SourceState::kPostCopy;
}

void ChannelSource::give_up(const Error& error) {
  report_.error = error;
  if (report_.status == MigrationStatus::kCompleted) return;
  if (state_ == SourceState::kCommitted) {
    report_.post_copy.reset();  // whether it ever began is what is not known
    report_.status = MigrationStatus::kInDoubt;
    return enter(SourceState::kInDoubt);
  }
  if (state_ == SourceState::kPostCopy) {
    // Not in doubt, but not over either.
    report_.status = MigrationStatus::kInDoubt;
    report_.error = fail(Errc::kInDoubt,
                         "{}; the guest runs on the destination, where memory may be missing that "
                         "is still here: QEMU's post-copy is paused and can go on through `godwit "
                         "relay` (docs/channel.md)",
                         to_string(error))
                        .value();
    return;
  }
  // The stream broke with the interruption, or ends with the VMM's migration; the destination is
  // told why where it does not know.
  report_.post_copy.reset();
  if (state_ == SourceState::kAwaitingReady && !relay_.link().peer_gave_up())
    (void)relay_.link().send(Abort{error.code, to_string(error)});
  if (const Status resumed = parts_.guest.resume(); !resumed) {
    report_.status = MigrationStatus::kFailed;
    report_.error = fail(Errc::kGuest, "{}; and the guest does not run: {}", to_string(error),
                         to_string(resumed.error()))
                        .value();
    return enter(SourceState::kFailed);
  }
  report_.status = status_before_commit(error);
  enter(SourceState::kFailed);
}

void ChannelSource::enter(SourceState state) {
  state_ = state;
  parts_.observer.on_state(to_string(state));
}

}  // namespace godwit
