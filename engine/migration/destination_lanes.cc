// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/destination_lanes.h"

#include <array>

#include "engine/lane_loss.h"
#include "engine/migration/zero_clearing.h"

namespace godwit {
namespace {

// A lane whose ticket was used is here, or was lost on the way, within this time.
constexpr auto kArrivalMax = milliseconds(500);

}  // namespace

DestinationLanes::DestinationLanes(Parts parts, std::vector<std::unique_ptr<Listener>> listeners)
    : parts_(std::move(parts)), listeners_(std::move(listeners)), tickets_(parts_.token_of) {
  wake_ = parts_.interruption.on_raise([this] { shut_down_all(); });
  for (size_t i = 0; i < listeners_.size(); ++i) doormen_.emplace_back([this, i] { let_in(i); });
}

DestinationLanes::~DestinationLanes() {
  shut_down_all();
  doormen_.clear();
  // Nobody adds a lane any more.
  for (const auto& [number, lane] : lanes_) lane->thread.request_stop();
  for (const auto& [number, lane] : lanes_) lane->thread.join();
}

void DestinationLanes::shut_down_all() {
  std::lock_guard lock(mutex_);
  ending_ = true;
  for (const auto& listener : listeners_) listener->shut_down();
  for (const auto& [number, lane] : lanes_) lane->endpoint->shut_down();
}

void DestinationLanes::close(uint32_t lane) {
  std::unique_ptr<Lane> closed;
  {
    std::unique_lock lock(mutex_);
    if (!tickets_.use_up(lane)) {
      // Either it is here, or it is on its way from the listener to us, or it was lost there.
      const uint64_t visits = visits_;
      changed_.wait_until(lock, deadline_in(kArrivalMax),
                          [&] { return lanes_.contains(lane) || visits_ != visits || ending_; });
    }
    const auto found = lanes_.find(lane);
    if (found == lanes_.end()) return;
    closed = std::move(found->second);
    lanes_.erase(found);
  }
  end(std::move(closed));
}

void DestinationLanes::close_writers() {
  std::vector<std::unique_ptr<Lane>> closed;
  {
    std::lock_guard lock(mutex_);
    writers_closed_ = true;
    closed = take_out(Use::kWrites);
  }
  for (const auto& lane : closed) lane->endpoint->shut_down();
  for (auto& lane : closed) end(std::move(lane));
}

std::vector<std::unique_ptr<DestinationLanes::Lane>> DestinationLanes::take_out(Use use) {
  std::vector<std::unique_ptr<Lane>> taken;
  for (auto& [number, lane] : lanes_)
    if (lane->use == use) taken.push_back(std::move(lane));
  std::erase_if(lanes_, [](const auto& entry) { return entry.second == nullptr; });
  return taken;
}

void DestinationLanes::end(std::unique_ptr<Lane> lane) {
  lane->thread.request_stop();
  lane->endpoint->shut_down();
  lane->thread.join();
  // With its endpoint the connection goes, and with that what could still arrive.
  lane.reset();
}

void DestinationLanes::let_in(size_t listener) {
  while (true) {
    Result<AcceptedLane> accepted = listeners_[listener]->accept(tickets_, Deadline::max());
    const bool working = accepted.has_value();
    end_those_that_have_fetched();
    if (working) add(std::move(*accepted), listener);
    std::lock_guard lock(mutex_);
    ++visits_;
    changed_.notify_all();
    // Without its listener a rail is lost to lanes that come later; those that are here stay.
    if (!working || ending_) return;
  }
}

void DestinationLanes::add(AcceptedLane accepted, size_t listener) {
  auto lane = std::make_unique<Lane>();
  lane->number = accepted.lane;
  lane->listener = listener;
  lane->endpoint = std::move(accepted.endpoint);
  std::lock_guard lock(mutex_);
  if (ending_) return;
  lane->thread =
      std::jthread([this, &lane = *lane](const std::stop_token& stop) { serve(lane, stop); });
  lanes_[accepted.lane] = std::move(lane);
}

// The source does not say of a lost fetch lane that it is to be closed: it connects another one.
void DestinationLanes::end_those_that_have_fetched() {
  std::vector<std::unique_ptr<Lane>> over;
  {
    std::lock_guard lock(mutex_);
    over = take_out(Use::kHasFetched);
  }
  for (auto& lane : over) end(std::move(lane));
}

void DestinationLanes::serve(Lane& lane, const std::stop_token& stop) {
  Endpoint& endpoint = *lane.endpoint;
  std::array<std::byte, kLaneMessageBytesMax> buffer;
  uint64_t zeroed_pages = 0;
  while (!stop.stop_requested()) {
    // A lane may rest for long between rounds; the control connection watches whether the peer
    // lives.
    Result<size_t> size = endpoint.receive(buffer, deadline_in(seconds(5)));
    Status status;
    if (!size) {
      if (size.error().code == Errc::kTimeout) continue;
      status = tl::unexpected<Error>(size.error());
    } else {
      Result<LaneMessage> message = decode_lane_message(std::span(buffer).first(*size));
      const auto* fetch = message ? std::get_if<FetchLane>(&*message) : nullptr;
      if (fetch != nullptr) {
        status = turn_into_fetch_lane(lane, *fetch, stop);
        if (status) return;
      } else
        status = message ? handle(endpoint, *message, zeroed_pages)
                         : Status(tl::unexpected<Error>(message.error()));
    }
    if (status) continue;
    // Shut down from here.
    if (status.error().code == Errc::kCancelled || stop.stop_requested()) return;
    if (!is_lane_loss(status.error())) return parts_.interruption.raise(status.error());
    endpoint.shut_down();
    return parts_.on_lost(lane.number, status.error());
  }
}

void DestinationLanes::set_use(Lane& lane, Use use) {
  std::lock_guard lock(mutex_);
  lane.use = use;
}

Status DestinationLanes::turn_into_fetch_lane(Lane& lane, const FetchLane& message,
                                              const std::stop_token& stop) {
  if (!parts_.fetch) return fail(Errc::kCorrupt, "a fetch lane where there is no post-copy");
  set_use(lane, Use::kFetches);
  const Status fetched = parts_.fetch(message, lane.listener, *lane.endpoint, stop);
  set_use(lane, Use::kHasFetched);
  return fetched;
}

Status DestinationLanes::handle(Endpoint& endpoint, const LaneMessage& message,
                                uint64_t& zeroed_pages) {
  {
    std::lock_guard lock(mutex_);
    if (writers_closed_) return fail(Errc::kCorrupt, "the source still writes after the last page");
  }
  if (const auto* zeroes = std::get_if<ZeroRuns>(&message)) {
    RETURN_IF_ERROR(validate(*zeroes, parts_.memory));
    ASSIGN_OR_RETURN(const uint64_t cleared,
                     clear_pages(*zeroes, parts_.memory, parts_.present_at_start));
    zeroed_pages += cleared;
    return {};
  }
  if (const auto* end = std::get_if<RoundEnd>(&message)) {
    return endpoint.send(encode_lane_message(RoundDone{end->round, zeroed_pages}),
                         deadline_in(seconds(10)));
  }
  return fail(Errc::kCorrupt, "the source sent a lane message that only a destination sends");
}

}  // namespace godwit
