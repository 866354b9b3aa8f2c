// SPDX-License-Identifier: Apache-2.0
#include "engine/channel/channel_source.h"

#include <thread>
#include <utility>

#include "engine/migration/cpu_time.h"

namespace godwit {
namespace {

constexpr Clock::duration kLookEvery = milliseconds(20);
constexpr int kLooksPerProgress = 10;
// Loading has no natural limit; a dead destination is noticed by the link long before.
constexpr Clock::duration kLoadMax = seconds(60);
constexpr Clock::duration kReasonPatience = milliseconds(500);
constexpr Clock::duration kStartMax = seconds(30);

}  // namespace

ChannelSource::ChannelSource(const Parts& parts, ChannelOptions options)
    : parts_(parts),
      options_(std::move(options)),
      relay_({.stream = parts.guest.stream(),
              .rails = parts.rails,
              .control = parts.control,
              .make_extractor = parts.guest.page_extractor(),
              .guest = parts.guest.memory()},
             options_.session,
             {.software = options_.software,
              .purpose = Purpose::kChannel,
              .peer_timeout = options_.peer_timeout}) {}

void ChannelSource::cancel() {
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
  if (!relay_.places_pages()) {
    report_.transport_note = relay_.note();
  } else if (parts_.guest.memory() == nullptr) {
    report_.transport_note = parts_.guest.memory_note();
  }
  enter(SourceState::kPrecopy);
  streaming_since_ = Clock::now();
  report_.setup_ms = to_milliseconds(streaming_since_ - begin_);
  const Result<std::vector<PageChannel*>> channels = begin();
  if (!channels) {
    // Nothing is carried yet whose end would tell the destination.
    (void)relay_.link().send(Abort{channels.error().code, to_string(channels.error())});
    return tl::unexpected<Error>(channels.error());
  }
  Result<relay::StreamTraffic> traffic;
  {
    const std::jthread carrying([&] { traffic = relay_.carry(*channels); });
    const Status migrated = wait_for_vmm();
    // A stream that has not ended by itself ends here.
    if (!migrated) {
      relay_.interruption().raise(migrated.error());
      return migrated;
    }
  }
  RETURN_IF_ERROR(traffic);
  report_.bytes_sent = traffic->sent_bytes;
  report_.placed_bytes = traffic->placed_bytes;
  if (!traffic->note.empty()) report_.transport_note = traffic->note;
  report_.throughput_bytes_per_s =
      static_cast<double>(report_.bytes_sent) / to_seconds(Clock::now() - streaming_since_);
  return hand_over();
}

// By channels for its pages, where there are lanes for them.
Result<std::vector<PageChannel*>> ChannelSource::begin() {
  const size_t count = options_.page_channels.value_or(parts_.guest.channels_by_default());
  WantedChannels wanted;
  Status lanes;
  if (count > 0) wanted.blocks = relay_.blocks_in_reach();
  if (!wanted.blocks.empty()) lanes = relay_.open_page_lanes(count);
  if (!wanted.blocks.empty() && lanes) wanted.count = count;
  ASSIGN_OR_RETURN(BegunChannels begun, parts_.guest.begin(wanted));
  if (!lanes) begun.note = to_string(lanes.error());
  if (!begun.channels.empty()) {
    report_.transport_note =
        fmt::format("pages come by {} channels of QEMU's", begun.channels.size());
  } else if (!begun.note.empty()) {
    report_.transport_note = "pages come by one channel of QEMU's: " + begun.note;
  }
  return begun.channels;
}

// Until it has written everything.
Status ChannelSource::wait_for_vmm() {
  for (int looks = 0;; ++looks) {
    RETURN_IF_ERROR(relay_.interruption().check());
    ASSIGN_OR_RETURN(const ChannelProgress progress, parts_.guest.progress());
    if (looks % kLooksPerProgress == 0) tell_progress(progress);
    switch (progress.state) {
      case ChannelProgress::State::kCompleted:
        report_.ram_bytes = progress.ram_bytes;
        report_.pages_sent = progress.sent_pages;
        report_.zero_pages = progress.zero_pages;
        return {};
      case ChannelProgress::State::kFailed:
        RETURN_IF_ERROR(relay_.interruption().check());
        // The other end may know better.
        if (const auto reason = relay_.link().reason_of_peer(deadline_in(kReasonPatience)))
          return tl::unexpected<Error>(*reason);
        return fail(Errc::kGuest, "QEMU could not migrate the guest: {}", progress.error);
      case ChannelProgress::State::kRunning:
        break;
    }
    std::this_thread::sleep_until(streaming_since_ + (looks + 1) * kLookEvery);
  }
}

void ChannelSource::tell_progress(const ChannelProgress& progress) {
  const double elapsed_s = to_seconds(Clock::now() - streaming_since_);
  parts_.observer.on_progress(
      {.phase = fmt::format("pre-copy round {}", progress.round),
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
  RETURN_IF_ERROR(parts_.commit_log.record_commit());
  enter(SourceState::kCommitted);
  RETURN_IF_ERROR(link.send(Commit{}));
  const Result<ControlMessage> answer = link.next(deadline_in(kStartMax));
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
  report_.status = MigrationStatus::kCompleted;
  enter(SourceState::kCompleted);
  return parts_.guest.release();
}

void ChannelSource::give_up(const Error& error) {
  report_.error = error;
  if (report_.status == MigrationStatus::kCompleted) return;
  if (state_ == SourceState::kCommitted) {
    report_.status = MigrationStatus::kInDoubt;
    return enter(SourceState::kInDoubt);
  }
  // The stream broke with the interruption, or ends with the VMM's migration; the destination is
  // told why where it does not know.
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
