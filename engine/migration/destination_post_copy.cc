// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/destination_post_copy.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "engine/migration/farewell.h"
#include "engine/migration/states.h"

namespace godwit {
namespace {

constexpr Clock::duration kProgressPeriod = milliseconds(500);
constexpr Clock::duration kRetryPause = milliseconds(100);
// A connection that is closed with something unread loses what was said last.
constexpr Clock::duration kAbortIsHeardMax = seconds(1);

}  // namespace

// A connection that replaced a lost one, and what hangs on it. Destroyed from the bottom up.
struct DestinationPostCopy::Connection {
  std::unique_ptr<ControlChannel> channel;
  Interruption interruption;
  std::unique_ptr<ControlLink> link;
  GuestPageSet no_pages;
  DestinationRails rails;
  std::unique_ptr<DestinationLanes> lanes;
};

DestinationPostCopy::DestinationPostCopy(Parts parts, const DestinationOptions& options)
    : parts_(parts), options_(options) {}

DestinationPostCopy::~DestinationPostCopy() {
  starter_ = {};
  connection_.reset();
}

Status DestinationPostCopy::prepare(std::unique_ptr<PageFaults> faults,
                                    const PreparePostCopy& offer, const DestinationRails& rails) {
  ASSIGN_OR_RETURN(received_, parts_.commit_log.received_pages(parts_.memory));
  own_faults_ = std::move(faults);
  faults_ = own_faults_.get();
  RETURN_IF_ERROR(faults_->arm());
  RETURN_IF_ERROR(open_fetcher(offer.bandwidth_limit_bytes_per_s));
  set_regions(offer, rails);
  missing_ = empty_page_set(parts_.memory);
  return {};
}

Status DestinationPostCopy::adopt(PageFaults& faults) {
  faults_ = &faults;
  ASSIGN_OR_RETURN(received_, parts_.commit_log.received_pages(parts_.memory));
  RETURN_IF_ERROR(open_fetcher(0));
  began_ = Clock::now();
  return fetcher_->resume();
}

Status DestinationPostCopy::open_fetcher(uint64_t bandwidth_limit_bytes_per_s) {
  ASSIGN_OR_RETURN(fetcher_, postcopy::PageFetcher::make(
                                 {.memory = parts_.memory,
                                  .faults = *faults_,
                                  .received = received_,
                                  .bandwidth_limit_bytes_per_s = bandwidth_limit_bytes_per_s}));
  return {};
}

void DestinationPostCopy::set_regions(const PreparePostCopy& offer, const DestinationRails& rails) {
  regions_.clear();
  for (const auto& ours : rails.regions) {
    auto& by_source = regions_.emplace_back();
    for (const ServedRail& theirs : offer.rails) {
      auto& regions = by_source.emplace_back();
      for (const auto& region : ours) regions.local.push_back(region.get());
      regions.remote = theirs.regions;
    }
  }
}

Status DestinationPostCopy::take(const MissingPages& missing) {
  const GuestMemory& memory = parts_.memory;
  if (fetcher_ == nullptr) return fail(Errc::kCorrupt, "missing pages without post-copy");
  if (missing.block >= memory.size())
    return fail(Errc::kCorrupt, "missing pages of a RAM block {}", missing.block);
  PageBitmap& pages = missing_[missing.block];
  const uint64_t words = pages.words().size();
  if (missing.first_word > words || missing.words.size() > words - missing.first_word)
    return fail(Errc::kCorrupt, "missing pages outside of RAM block '{}'",
                memory[missing.block].name);
  for (size_t i = 0; i < missing.words.size(); ++i) {
    const uint64_t first = (missing.first_word + i) * postcopy::kPagesPerWord;
    for (uint64_t word = missing.words[i]; word != 0; word &= word - 1) {
      const uint64_t page = first + static_cast<uint64_t>(std::countr_zero(word));
      if (page >= pages.page_count())
        return fail(Errc::kCorrupt, "missing pages behind the end of RAM block '{}'",
                    memory[missing.block].name);
      pages.set(page);
    }
  }
  return {};
}

void DestinationPostCopy::begin() {
  began_ = Clock::now();
  fetcher_->begin(missing_);
  parts_.report.post_copy->missing_bytes = fetcher_->outstanding_bytes();
  missing_.clear();
}

Status DestinationPostCopy::fetch(const FetchLane& lane, size_t rail, Endpoint& endpoint,
                                  const std::stop_token& stop) {
  if (rail >= regions_.size() || lane.rail >= regions_[rail].size())
    return fail(Errc::kCorrupt, "a fetch lane of a rail that was not offered");
  const postcopy::FetchRegions& regions = regions_[rail][lane.rail];
  if (regions.remote.size() != regions.local.size())
    return fail(Errc::kCorrupt, "the source serves another layout than it offered");
  RETURN_IF_ERROR(fetcher_->await_begin(stop));
  return fetcher_->run_lane(lane.kind, endpoint, regions, stop);
}

Status DestinationPostCopy::run(const std::string& session, Guest guest,
                                std::unique_ptr<ControlLink>& link,
                                std::unique_ptr<DestinationLanes>& lanes) {
  const Status status = run_to_the_end(session, guest, link, lanes);
  if (status || status.error().code != Errc::kGuest) return status;
  // That its VMM is gone, the source should know: its memory is of no use any more.
  ControlLink* current = link.get();
  if (current == nullptr && connection_ != nullptr) current = connection_->link.get();
  if (current != nullptr) {
    (void)current->send(Abort{status.error().code, to_string(status.error())});
    current->drain(deadline_in(kAbortIsHeardMax));
  }
  return status;
}

Status DestinationPostCopy::run_to_the_end(const std::string& session, Guest guest,
                                           std::unique_ptr<ControlLink>& link,
                                           std::unique_ptr<DestinationLanes>& lanes) {
  session_ = session;
  committed_ = guest != Guest::kUncommitted;
  started_ = said_running_ = guest == Guest::kStarted;
  if (committed_) fetcher_->start_background();
  if (guest == Guest::kCommitted) start_in_background();
  ControlLink* current = link.get();
  bool complete = false;
  while (!complete) {
    if (current != nullptr) {
      ASSIGN_OR_RETURN(complete, follow(*current));
      if (complete) break;
      // All that hangs on the lost connection goes, from the lanes up: what they had claimed is
      // given back.
      lanes.reset();
      link.reset();
      connection_.reset();
      current = nullptr;
      ++parts_.report.post_copy->reconnects;
    }
    RETURN_IF_ERROR(rejoin());
    current = connection_ != nullptr ? connection_->link.get() : nullptr;
    // All pages may be here before the guest runs, or before it is even known that it may.
    ASSIGN_OR_RETURN(const bool all_here, fetcher_->await_complete(Deadline::min()));
    complete = all_here && started_;
  }
  fill_report();
  fetcher_->end();
  RETURN_IF_ERROR(faults_->disarm());
  lanes.reset();
  if (connection_ != nullptr) connection_->lanes.reset();
  tell_source(current);
  return {};
}

Result<bool> DestinationPostCopy::follow(ControlLink& link) {
  Clock::time_point next_progress = Clock::now();
  while (true) {
    // Messages are few, so they are looked for between two looks at the pages.
    ASSIGN_OR_RETURN(const bool complete, fetcher_->await_complete(deadline_in(milliseconds(5))));
    // What ends the downtime, of a guest that took its time to start.
    if (started_ && !std::exchange(said_running_, true)) (void)link.send(Running{});
    if (complete && started_) return true;
    Result<ControlMessage> message = link.next(Deadline::min());
    if (message) {
      if (const auto* zeroes = std::get_if<ZeroPages>(&*message)) {
        RETURN_IF_ERROR(fetcher_->take_zeroes(zeroes->block, zeroes->runs));
      } else if (const auto* close = std::get_if<CloseLane>(&*message)) {
        (void)link.send(LaneClosed{close->lane, {}});
      } else if (std::holds_alternative<Commit>(*message)) {
        RETURN_IF_ERROR(take_commit(link));
      } else {
        return fail(Errc::kCorrupt, "the source sent a message out of turn: {}", name_of(*message));
      }
    } else if (message.error().code != Errc::kTimeout) {
      if (is_link_loss(message.error())) return false;
      return tl::unexpected<Error>(message.error());
    }
    if (Clock::now() >= next_progress) {
      const FetchProgress now = progress();
      Progress shown = view_.show(now, Clock::now());
      shown.reconnects = parts_.report.post_copy->reconnects;
      parts_.observer.on_progress(shown);
      if (!link.send(now)) return false;
      next_progress = Clock::now() + kProgressPeriod;
    }
  }
}

// A commit that comes again, because its answer was lost, changes nothing.
Status DestinationPostCopy::take_commit(ControlLink& link) {
  if (!committed_) {
    RETURN_IF_ERROR(parts_.commit_log.record_commit());
    committed_ = true;
    fetcher_->start_background();
    start_in_background();
  }
  (void)link.send(Running{});
  return {};
}

// The VMM may have to wait for pages before it answers, so those have to be fetched meanwhile.
void DestinationPostCopy::start_in_background() {
  starter_ = std::jthread([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const Status started = parts_.start_guest();
      if (started) {
        (void)parts_.commit_log.record_started();
        started_ = true;
        return;
      }
      if (started.error().code != Errc::kTimeout) return fetcher_->fail_with(started.error());
    }
  });
}

// Waits for the source to come again, for as long as the options say.
Status DestinationPostCopy::rejoin() {
  if (parts_.reconnector == nullptr)
    return fail(Errc::kInDoubt, "the connection to the source was lost with pages still missing");
  parts_.observer.on_state(to_string(DestinationState::kReconnecting));
  const Deadline deadline = options_.reconnect_for == Clock::duration::max()
                                ? Deadline::max()
                                : deadline_in(options_.reconnect_for);
  while (Clock::now() < deadline) {
    ASSIGN_OR_RETURN(const bool complete, fetcher_->await_complete(Deadline::min()));
    if (complete && started_) return {};
    Result<std::unique_ptr<ControlChannel>> channel =
        parts_.reconnector->next(std::min(deadline, deadline_in(seconds(1))));
    Status joined =
        channel ? rejoin_over(std::move(*channel)) : Status(tl::unexpected<Error>(channel.error()));
    if (joined) {
      parts_.observer.on_state(to_string(DestinationState::kPostCopy));
      return {};
    }
    connection_.reset();
    if (joined.error().code == Errc::kCancelled) return joined;
    if (joined.error().code != Errc::kTimeout)
      std::this_thread::sleep_for(
          std::min(kRetryPause, std::max(Clock::duration::zero(), deadline - Clock::now())));
  }
  return fail(Errc::kInDoubt,
              "the source did not come back within {:.0f} s; the guest waits where it touches "
              "pages that are missing: `godwit resume {}` goes on waiting for it",
              to_seconds(options_.reconnect_for), session_);
}

Status DestinationPostCopy::rejoin_over(std::unique_ptr<ControlChannel> channel) {
  connection_ = std::make_unique<Connection>();
  Connection& connection = *connection_;
  connection.channel = std::move(channel);
  connection.link = std::make_unique<ControlLink>(*connection.channel, connection.interruption,
                                                  options_.peer_timeout);
  ControlLink& link = *connection.link;
  const Deadline deadline = deadline_in(options_.peer_timeout);
  ASSIGN_OR_RETURN(const Hello hello, link.expect<Hello>(deadline));
  if (hello.purpose != Purpose::kRejoin || hello.session != session_ ||
      hello.protocol_version != kProtocolVersion) {
    (void)link.send(Refuse{fmt::format(
        "this agent waits for the source of session {} to come back, not for another guest",
        session_)});
    link.drain(deadline_in(seconds(1)));
    return fail(Errc::kPeerLost, "another source came");
  }
  RETURN_IF_ERROR(link.send(Hello{.protocol_version = kProtocolVersion,
                                  .software = options_.software,
                                  .session = session_,
                                  .role = Role::kDestination,
                                  .purpose = Purpose::kRejoin}));
  ASSIGN_OR_RETURN(const PreparePostCopy offer, link.expect<PreparePostCopy>(deadline));
  // An agent that took over from another has not heard of it.
  fetcher_->limit_bandwidth(offer.bandwidth_limit_bytes_per_s);
  std::vector<std::string> offered;
  for (const ServedRail& rail : offer.rails) offered.push_back(rail.transport);
  ASSIGN_OR_RETURN(connection.rails,
                   DestinationRails::open(parts_.rails, parts_.memory, offered, parts_.report));
  set_regions(offer, connection.rails);
  connection.no_pages = empty_page_set(parts_.memory);
  connection.lanes = std::make_unique<DestinationLanes>(
      DestinationLanes::Parts{
          parts_.memory, connection.no_pages, connection.interruption,
          [&connection](uint32_t lane) { return connection.channel->lane_token(lane); },
          [&connection](uint32_t lane, const Error& reason) {
            (void)connection.link->send(LaneClosed{lane, to_string(reason)});
          },
          [this](const FetchLane& lane, size_t rail, Endpoint& endpoint,
                 const std::stop_token& stop) { return fetch(lane, rail, endpoint, stop); }},
      std::move(connection.rails.listeners));
  connection.lanes->close_writers();
  return link.send(
      PostCopyPrepared{.reason = {},
                       .rails = connection.rails.accepted,
                       .hand_over = committed_ ? HandOver::kCommitted : HandOver::kUncommitted});
}

// The guest is complete here whatever comes of this.
void DestinationPostCopy::tell_source(ControlLink* link) {
  const Farewell farewell{session_, options_.software, options_.peer_timeout};
  if (link != nullptr && tell_complete(*link, farewell)) return;
  connection_.reset();
  Result<bool> told = false;
  if (parts_.reconnector != nullptr) {
    told = tell_whoever_comes(*parts_.reconnector, farewell,
                              deadline_in(std::min(options_.peer_timeout, options_.reconnect_for)));
  }
  parts_.report.post_copy->source_waits = !told.value_or(false);
}

// A VMM that waits for a page could not even be told to quit.
void DestinationPostCopy::abandon() {
  if (std::exchange(abandoned_, true)) return;
  if (fetcher_ != nullptr) fetcher_->end();
  if (faults_ != nullptr) (void)faults_->disarm();
}

DestinationPostCopy::Watch::Watch(DestinationPostCopy& post_copy, Interruption& interruption) {
  hook_ = interruption.on_raise([this] {
    std::lock_guard lock(mutex_);
    changed_.notify_all();
  });
  thread_ = std::jthread([this, &post_copy, &interruption](const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    const bool raised = changed_.wait(lock, stop, [&] { return interruption.raised(); });
    lock.unlock();
    if (raised) post_copy.abandon();
  });
}

FetchProgress DestinationPostCopy::progress() const {
  const postcopy::FetchCounters counters = fetcher_->counters();
  const postcopy::LatencyCounts latency = fetcher_->fault_latency().snapshot();
  return {.outstanding_bytes = fetcher_->outstanding_bytes(),
          .fetched_bytes = counters.fault_bytes + counters.background_bytes,
          .faults = counters.faults,
          .fault_p50_us = latency.percentile_us(0.5),
          .fault_p99_us = latency.percentile_us(0.99),
          .fault_max_us = latency.percentile_us(1)};
}

void DestinationPostCopy::fill_report() {
  const postcopy::FetchCounters counters = fetcher_->counters();
  const postcopy::LatencyCounts latency = fetcher_->fault_latency().snapshot();
  PostCopyReport& report = *parts_.report.post_copy;
  report.faults = counters.faults;
  report.faults_fetched = counters.faults_fetched;
  report.fault_bytes = counters.fault_bytes;
  report.background_bytes = counters.background_bytes;
  report.zero_pages = counters.zero_pages;
  report.fault_p50_us = latency.percentile_us(0.5);
  report.fault_p90_us = latency.percentile_us(0.9);
  report.fault_p99_us = latency.percentile_us(0.99);
  report.fault_max_us = latency.percentile_us(1);
  for (const nanoseconds time : fetcher_->stall_times().vcpus())
    report.vcpu_stall_ms.push_back(to_milliseconds(duration_cast<Clock::duration>(time)));
  report.other_stall_ms = to_milliseconds(fetcher_->stall_times().others());
  report.fault_urgency = to_string(fetcher_->urgency());
  report.ms = to_milliseconds(Clock::now() - began_);
}

}  // namespace godwit
