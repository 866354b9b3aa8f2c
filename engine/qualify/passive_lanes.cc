// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/passive_lanes.h"

#include <iterator>
#include <utility>

#include "engine/base/time.h"
#include "engine/wire/lane_messages.h"

namespace godwit::qualify {
namespace {

// How long one call waits. Whoever ends a lane wakes it.
constexpr Clock::duration kEchoPatience = seconds(5);

Status send_back_messages(Endpoint& endpoint) {
  std::vector<std::byte> message(kLaneMessageBytesMax);
  while (true) {
    const Result<size_t> size = endpoint.receive(message, deadline_in(kEchoPatience));
    if (!size && size.error().code == Errc::kTimeout) continue;
    if (!size) return tl::unexpected<Error>(size.error());
    RETURN_IF_ERROR(endpoint.send(std::span(message).first(*size), deadline_in(kEchoPatience)));
  }
}

}  // namespace

PassiveLanes::PassiveLanes(std::vector<std::unique_ptr<Listener>> listeners,
                           LaneTickets::TokenOf token_of)
    : listeners_(std::move(listeners)), tickets_(std::move(token_of)) {
  for (const auto& listener : listeners_)
    doormen_.emplace_back([this, &listener] { let_in(*listener); });
}

PassiveLanes::~PassiveLanes() {
  for (const auto& listener : listeners_) listener->shut_down();
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    for (Lane& lane : lanes_) {
      if (lane.endpoint != nullptr) lane.endpoint->shut_down();
    }
  }
  doormen_.clear();
  lanes_.clear();
}

void PassiveLanes::let_in(Listener& listener) {
  while (true) {
    Result<AcceptedLane> accepted = listener.accept(tickets_, Deadline::max());
    if (!accepted) return;
    reap();
    std::lock_guard lock(mutex_);
    if (ending_) return;
    Lane& lane = lanes_.emplace_back();
    lane.endpoint = std::move(accepted->endpoint);
    lane.thread = std::jthread([this, &lane] { serve(lane); });
  }
}

// A lane ends when its peer has no use for it any more, which is no news to anybody here.
void PassiveLanes::serve(Lane& lane) {
  Endpoint* endpoint = nullptr;
  {
    std::lock_guard lock(mutex_);
    endpoint = lane.endpoint.get();
  }
  (void)send_back_messages(*endpoint);
  std::unique_ptr<Endpoint> ended;
  {
    std::lock_guard lock(mutex_);
    ended = std::move(lane.endpoint);
  }
  ended.reset();
  std::lock_guard lock(mutex_);
  lane.ended = true;
}

// Without the lock: a thread that has said that it ended may still want it.
void PassiveLanes::reap() {
  std::list<Lane> ended;
  std::lock_guard lock(mutex_);
  for (auto lane = lanes_.begin(); lane != lanes_.end();) {
    const auto next = std::next(lane);
    if (lane->ended) ended.splice(ended.end(), lanes_, lane);
    lane = next;
  }
}

}  // namespace godwit::qualify
