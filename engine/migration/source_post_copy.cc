// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/source_post_copy.h"

#include <algorithm>
#include <utility>

#include "engine/base/thread_priority.h"
#include "engine/memory/zero_scan.h"
#include "engine/migration/farewell.h"
#include "engine/migration/rail_ends.h"
#include "engine/migration/states.h"

namespace godwit {
namespace {

constexpr Clock::duration kFirstBackOff = milliseconds(20);
constexpr Clock::duration kBackOffMax = seconds(2);
constexpr size_t kRunsPerMessage = 1024;

}  // namespace

// A connection that replaced a lost one. Destroyed from the bottom up.
struct SourcePostCopy::Connection {
  std::unique_ptr<ControlChannel> channel;
  Interruption interruption;
  ClosedLanes closed{interruption};
  std::unique_ptr<ControlLink> link;
  std::unique_ptr<LaneConnector> connector;
};

SourcePostCopy::SourcePostCopy(Parts parts, const SourceOptions& options)
    : parts_(parts), options_(options), began_(Clock::now()) {}

SourcePostCopy::~SourcePostCopy() {
  zero_finder_ = {};
  server_.reset();
}

Result<PreparePostCopy> SourcePostCopy::open_rails(const std::vector<const Rail*>& rails) {
  std::vector<std::pair<const Rail*, Error>> failed;
  for (const Rail* rail : rails) {
    Result<Regions> regions = open_rail(*rail);
    if (!regions) failed.emplace_back(rail, regions.error());
    rails_.push_back(rail);
    // Without regions it keeps its number, and nothing goes by it.
    regions_.push_back(regions ? std::move(*regions) : Regions());
  }
  if (failed.size() == rails.size()) {
    rails_.clear();
    regions_.clear();
    return tl::unexpected<Error>(failed.front().second);
  }
  for (const auto& [rail, error] : failed) note_rail(parts_.report, rail->name, error);
  return offer();
}

Result<SourcePostCopy::Regions> SourcePostCopy::open_rail(const Rail& rail) const {
  Regions regions;
  for (const GuestBlock& block : parts_.memory) {
    ASSIGN_OR_RETURN(std::unique_ptr<MemoryRegion> region,
                     rail.transport->register_memory(block.memory, RemoteAccess::kRead));
    regions.push_back(std::move(region));
  }
  return regions;
}

PreparePostCopy SourcePostCopy::offer() const {
  PreparePostCopy offer;
  offer.bandwidth_limit_bytes_per_s = options_.bandwidth_limit_bytes_per_s;
  for (size_t i = 0; i < rails_.size(); ++i) {
    ServedRail served{.transport = rails_[i]->transport->capabilities().name, .regions = {}};
    for (const auto& region : regions_[i]) served.regions.push_back(region->describe());
    offer.rails.push_back(std::move(served));
  }
  return offer;
}

Status SourcePostCopy::open_lanes(precopy::LaneOpener& opener, Deadline deadline) {
  std::vector<size_t> homes;
  std::vector<size_t> last_resorts;
  for (size_t i = 0; i < rails_.size(); ++i) {
    if (regions_[i].empty()) continue;
    (rails_[i]->use == RailUse::kAlways ? homes : last_resorts).push_back(i);
  }
  if (homes.empty()) homes.swap(last_resorts);
  // Each lane prefers a rail of its own, and takes what works.
  postcopy::ServedLanes lanes;
  const auto add = [&](std::vector<std::vector<size_t>>& to, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      std::vector<size_t> rails = homes;
      std::rotate(rails.begin(), rails.begin() + static_cast<long>(i % homes.size()), rails.end());
      rails.insert(rails.end(), last_resorts.begin(), last_resorts.end());
      to.push_back(std::move(rails));
    }
  };
  const uint32_t count = options_.lanes == 0 ? default_lane_count() : options_.lanes;
  add(lanes.faults, std::max<size_t>(homes.size(), count > 2 ? 2 : 1));
  add(lanes.background, std::max<size_t>(homes.size(), std::max(1U, count / 2)));
  server_ = std::make_unique<postcopy::PageServer>(opener, lanes);
  return server_->await_lanes(deadline);
}

Status SourcePostCopy::send_missing(ControlLink& link, const GuestPageSet& missing) {
  uint64_t bytes = 0;
  for (uint32_t block = 0; block < missing.size(); ++block) {
    const std::span<const uint64_t> words = missing[block].words();
    bytes += missing[block].count() * parts_.memory[block].page_size_bytes;
    for (size_t first = 0; first < words.size();) {
      // Stretches without a missing page are left out.
      if (words[first] == 0) {
        ++first;
        continue;
      }
      size_t end = std::min(words.size(), first + kPageWordsMax);
      while (words[end - 1] == 0) --end;
      RETURN_IF_ERROR(link.send(MissingPages{.block = block,
                                             .first_word = first,
                                             .words = {words.begin() + static_cast<long>(first),
                                                       words.begin() + static_cast<long>(end)}}));
      first = end;
    }
  }
  parts_.report.post_copy->missing_bytes = bytes;
  return {};
}

void SourcePostCopy::look_for_zeroes(GuestPageSet missing) {
  unlooked_ = std::move(missing);
}

Status SourcePostCopy::run(std::unique_ptr<ControlLink>& link) {
  ControlLink* current = link.get();
  if (!unlooked_.empty()) {
    zeroes_link_ = current;
    zero_finder_ = std::jthread([this](const std::stop_token& stop) { find_zeroes(stop); });
  }
  while (true) {
    if (current != nullptr) {
      parts_.observer.on_state(to_string(SourceState::kPostCopy));
      ASSIGN_OR_RETURN(const bool complete, follow(*current));
      if (complete) return {};
      {
        std::lock_guard lock(link_mutex_);
        zeroes_link_ = nullptr;
      }
      server_.reset();
      link.reset();
      connection_.reset();
      ++parts_.report.post_copy->reconnects;
    }
    RETURN_IF_ERROR(rejoin());
    if (complete_) return {};
    current = connection_->link.get();
    std::lock_guard lock(link_mutex_);
    zeroes_link_ = current;
  }
}

Result<bool> SourcePostCopy::follow(ControlLink& link) {
  while (true) {
    const Result<ControlMessage> message = link.next(Deadline::max());
    if (!message) {
      if (is_link_loss(message.error())) return false;
      return tl::unexpected<Error>(message.error());
    }
    if (const auto* progress = std::get_if<FetchProgress>(&*message)) {
      take(*progress);
    } else if (std::holds_alternative<FetchComplete>(*message)) {
      conclude(link);
      return true;
    } else if (!std::holds_alternative<Running>(*message)) {
      return fail(Errc::kCorrupt, "the destination sent a message out of turn: {}",
                  name_of(*message));
    }
  }
}

// Written down first: once the destination knows, nobody is there for an agent to resume.
void SourcePostCopy::conclude(ControlLink& link) {
  complete_ = true;
  parts_.report.post_copy->ms = to_milliseconds(Clock::now() - began_);
  parts_.observer.on_state(to_string(SourceState::kCompleted));
  const Farewell farewell{options_.session, options_.software, options_.peer_timeout};
  if (tell_released(link, farewell) || parts_.reconnector == nullptr) return;
  tell_released_again(*parts_.reconnector, farewell,
                      deadline_in(std::min(options_.peer_timeout, options_.reconnect_for)));
}

Status SourcePostCopy::rejoin() {
  if (parts_.reconnector == nullptr) {
    return fail(Errc::kInDoubt,
                "the connection was lost while the guest ran there with memory that is still here");
  }
  parts_.observer.on_state(to_string(SourceState::kReconnecting));
  const Deadline deadline = options_.reconnect_for == Clock::duration::max()
                                ? Deadline::max()
                                : deadline_in(options_.reconnect_for);
  Clock::duration back_off = kFirstBackOff;
  Error last{};
  while (Clock::now() < deadline) {
    Result<std::unique_ptr<ControlChannel>> channel =
        parts_.reconnector->next(std::min(deadline, deadline_in(options_.peer_timeout)));
    Status joined =
        channel ? rejoin_over(std::move(*channel)) : Status(tl::unexpected<Error>(channel.error()));
    if (joined) return {};
    last = joined.error();
    server_.reset();
    connection_.reset();
    if (last.code == Errc::kCancelled) return joined;
    std::this_thread::sleep_for(back_off);
    back_off = std::min(back_off * 2, kBackOffMax);
  }
  return fail(Errc::kInDoubt,
              "the destination could not be reached again within {:.0f} s ({}); its guest needs "
              "memory that is still here: `godwit resume {}` goes on trying",
              to_seconds(options_.reconnect_for), to_string(last), options_.session);
}

Status SourcePostCopy::rejoin_over(std::unique_ptr<ControlChannel> channel) {
  connection_ = std::make_unique<Connection>();
  Connection& connection = *connection_;
  connection.channel = std::move(channel);
  connection.link = std::make_unique<ControlLink>(
      *connection.channel, connection.interruption, options_.peer_timeout,
      [&connection](const ControlMessage& message) {
        const auto* closed = std::get_if<LaneClosed>(&message);
        if (closed != nullptr) connection.closed.note(closed->lane, closed->reason);
        return closed != nullptr;
      });
  ControlLink& link = *connection.link;
  const Deadline deadline = deadline_in(options_.peer_timeout);
  RETURN_IF_ERROR(link.send(Hello{.protocol_version = kProtocolVersion,
                                  .software = options_.software,
                                  .session = options_.session,
                                  .role = Role::kSource,
                                  .purpose = Purpose::kRejoin}));
  ASSIGN_OR_RETURN(const Hello hello, link.expect<Hello>(deadline));
  if (hello.session != options_.session)
    return fail(Errc::kPeerLost, "the destination is in another session");

  if (regions_.empty()) {
    std::vector<const Rail*> rails;
    for (const Rail& rail : parts_.rails) rails.push_back(&rail);
    RETURN_IF_ERROR(open_rails(rails));
  }
  RETURN_IF_ERROR(link.send(offer()));
  ASSIGN_OR_RETURN(const ControlMessage answer, link.next(deadline));
  if (std::holds_alternative<FetchComplete>(answer)) {
    conclude(link);
    return {};
  }
  if (!std::holds_alternative<PostCopyPrepared>(answer)) {
    return fail(Errc::kCorrupt, "the destination sent a message out of turn: {}", name_of(answer));
  }
  const auto& prepared = std::get<PostCopyPrepared>(answer);
  std::vector<Rail> usable;
  std::vector<size_t> numbers;
  std::vector<JoinedRail> joined;
  for (size_t i = 0; i < rails_.size(); ++i) {
    joined.push_back({rails_[i]->transport, {}});
    if (regions_[i].empty()) continue;
    usable.push_back(*rails_[i]);
    numbers.push_back(i);
  }
  const std::vector<size_t> ends = choose_rail_ends(usable, prepared.rails);
  for (size_t i = 0; i < usable.size(); ++i)
    if (ends[i] != kNoRailEnd) joined[numbers[i]].address = prepared.rails[ends[i]].address;
  connection.connector = std::make_unique<LaneConnector>(
      LaneConnector::Parts{*connection.channel, link, connection.interruption, connection.closed},
      std::move(joined), options_.peer_timeout);
  // It may not have heard of the commit, or its answer may have been lost.
  RETURN_IF_ERROR(link.send(Commit{}));
  return open_lanes(*connection.connector, deadline);
}

void SourcePostCopy::take(const FetchProgress& progress) {
  PostCopyReport& report = *parts_.report.post_copy;
  report.faults = progress.faults;
  report.fault_p50_us = progress.fault_p50_us;
  report.fault_p99_us = progress.fault_p99_us;
  report.fault_max_us = progress.fault_max_us;
  if (server_ != nullptr) report.fault_urgency = to_string(server_->urgency());
  Progress shown = view_.show(progress, Clock::now());
  shown.reconnects = report.reconnects;
  parts_.observer.on_progress(shown);
}

// Only a help: what is not told to be zero is fetched. So a connection that is lost meanwhile is
// not waited for.
void SourcePostCopy::find_zeroes(const std::stop_token& stop) {
  (void)make_this_thread_give_way();
  for (uint32_t block = 0; block < unlooked_.size(); ++block) {
    const GuestBlock& where = parts_.memory[block];
    ZeroPages message{.block = block, .runs = {}};
    const auto flush = [&] {
      std::lock_guard lock(link_mutex_);
      if (!message.runs.empty() && zeroes_link_ != nullptr) (void)zeroes_link_->send(message);
      message.runs.clear();
    };
    const uint64_t end = where.page_count();
    for (auto run = unlooked_[block].next_run(0, end); run;
         run = unlooked_[block].next_run(run->first_page + run->page_count, end)) {
      for (uint64_t page = run->first_page; page < run->first_page + run->page_count; ++page) {
        if (stop.stop_requested()) return;
        const auto bytes =
            where.memory.subspan(page * where.page_size_bytes, where.page_size_bytes);
        if (!is_zero(bytes)) continue;
        if (!message.runs.empty() &&
            message.runs.back().first_page + message.runs.back().page_count == page) {
          ++message.runs.back().page_count;
        } else {
          message.runs.push_back({page, 1});
        }
        if (message.runs.size() == kRunsPerMessage) flush();
      }
    }
    flush();
  }
}

}  // namespace godwit
