// SPDX-License-Identifier: Apache-2.0
#include "transports/loopback/loopback_control_channel.h"

#include <sys/random.h>

#include <cstring>

#include "engine/base/check.h"

namespace godwit {

struct LoopbackControlChannel::Wire {
  struct Direction {
    std::deque<std::vector<std::byte>> waiting;
    std::optional<ControlCut> cut;
    uint64_t sent = 0;
  };

  void end(size_t side, Errc code_here) {
    if (error[side]) return;
    error[side] = fail(code_here, "the control connection was shut down").value();
    if (!error[1 - side]) {
      error[1 - side] = fail(Errc::kPeerLost, "the control connection was closed").value();
    }
    changed.notify_all();
  }

  mutable std::mutex mutex;
  std::condition_variable changed;
  std::array<Direction, 2> from;              // by the side that sends
  std::array<std::optional<Error>, 2> error;  // by side
  std::array<std::byte, 24> secret;
};

LoopbackControlPair make_loopback_control_pair(ControlFaultPlan faults) {
  return LoopbackControlChannel::make_pair(faults);
}

LoopbackControlPair LoopbackControlChannel::make_pair(ControlFaultPlan faults) {
  // Shared by the two ends.
  auto wire = std::make_shared<Wire>();
  CHECK(::getrandom(wire->secret.data(), wire->secret.size(), 0) ==
        static_cast<ssize_t>(wire->secret.size()));
  wire->from[0].cut = faults.from_first;
  wire->from[1].cut = faults.from_second;
  LoopbackControlPair pair;
  pair.first.reset(new LoopbackControlChannel(wire, 0, "loopback:2"));
  pair.second.reset(new LoopbackControlChannel(wire, 1, "loopback:1"));
  return pair;
}

LoopbackControlChannel::~LoopbackControlChannel() {
  shut_down();
}

Status LoopbackControlChannel::send(std::span<const std::byte> message, Deadline) {
  std::lock_guard lock(wire_->mutex);
  if (message.size() > kControlMessageBytesMax) {
    return fail(Errc::kRefused, "a control message of {} bytes", message.size());
  }
  if (wire_->error[side_]) return tl::unexpected<Error>(*wire_->error[side_]);
  Wire::Direction& direction = wire_->from[side_];
  ++direction.sent;
  const bool cut_here = direction.cut && direction.cut->message == direction.sent;
  if (!cut_here) {
    direction.waiting.emplace_back(message.begin(), message.end());
    wire_->changed.notify_all();
    return {};
  }
  switch (direction.cut->when) {
    case ControlCut::When::kBeforeMessage:
      wire_->end(side_, Errc::kPeerLost);
      return tl::unexpected<Error>(*wire_->error[side_]);
    case ControlCut::When::kLosingMessage:
      break;
    case ControlCut::When::kAfterMessage:
      direction.waiting.emplace_back(message.begin(), message.end());
      break;
  }
  wire_->end(side_, Errc::kPeerLost);
  return {};
}

Result<std::vector<std::byte>> LoopbackControlChannel::receive(Deadline deadline) {
  std::unique_lock lock(wire_->mutex);
  auto& waiting = wire_->from[1 - side_].waiting;
  const bool in_time = wire_->changed.wait_until(
      lock, deadline, [&] { return !waiting.empty() || wire_->error[side_].has_value(); });
  if (!waiting.empty()) {
    std::vector<std::byte> message = std::move(waiting.front());
    waiting.pop_front();
    return message;
  }
  if (!in_time) return fail(Errc::kTimeout, "wait for a control message");
  return tl::unexpected<Error>(*wire_->error[side_]);
}

Result<std::array<std::byte, 32>> LoopbackControlChannel::lane_token(uint32_t lane) const {
  std::array<std::byte, 32> token{};
  std::memcpy(token.data(), wire_->secret.data(), wire_->secret.size());
  std::memcpy(token.data() + wire_->secret.size(), &lane, sizeof(lane));
  return token;
}

void LoopbackControlChannel::shut_down() {
  std::lock_guard lock(wire_->mutex);
  wire_->end(side_, Errc::kCancelled);
}

uint64_t LoopbackControlChannel::sent_count() const {
  std::lock_guard lock(wire_->mutex);
  return wire_->from[side_].sent;
}

}  // namespace godwit
