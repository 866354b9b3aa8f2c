// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/control_link.h"

#include <algorithm>

namespace godwit {

namespace {

// What a message that ends the migration says; nothing for any other.
std::optional<Error> reason_to_end(const ControlMessage& message) {
  if (const auto* refuse = std::get_if<Refuse>(&message)) {
    return fail(Errc::kRefused, "{}", refuse->reason).value();
  }
  if (const auto* abort = std::get_if<Abort>(&message)) {
    return fail(abort->code, "the other side gave up: {}", abort->reason).value();
  }
  return std::nullopt;
}

}  // namespace

ControlLink::ControlLink(ControlChannel& channel, Interruption& interruption,
                         Clock::duration peer_timeout, Aside aside)
    : channel_(channel),
      interruption_(interruption),
      peer_timeout_(peer_timeout),
      aside_(std::move(aside)) {
  wake_ = interruption_.on_raise([this] {
    std::lock_guard lock(mutex_);
    changed_.notify_all();
  });
  heartbeat_ = std::jthread([this](const std::stop_token& stop) { send_heartbeats(stop); });
  reader_ = std::jthread([this] { read_messages(); });
}

ControlLink::~ControlLink() {
  heartbeat_.request_stop();
  channel_.shut_down();
}

Status ControlLink::send(const ControlMessage& message) {
  std::lock_guard lock(send_mutex_);
  return channel_.send(encode(message), deadline_in(peer_timeout_));
}

Result<ControlMessage> ControlLink::next(Deadline deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline,
                      [this] { return !messages_.empty() || ended_ || interruption_.raised(); });
  if (!messages_.empty() || ended_) return take_message();
  lock.unlock();
  RETURN_IF_ERROR(interruption_.check());
  return fail(Errc::kTimeout, "no answer from {}", channel_.peer_address());
}

Result<ControlMessage> ControlLink::answer(Deadline deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [this] { return !messages_.empty() || ended_; });
  if (!messages_.empty() || ended_) return take_message();
  return fail(Errc::kTimeout, "no answer from {}", channel_.peer_address());
}

Result<ControlMessage> ControlLink::take_message() {
  if (messages_.empty()) return tl::unexpected<Error>(*ended_);
  ControlMessage message = std::move(messages_.front());
  messages_.pop_front();
  if (const auto error = reason_to_end(message)) return tl::unexpected<Error>(*error);
  return message;
}

std::optional<Error> ControlLink::reason_of_peer(Deadline deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [this] { return ended_ || peer_reason_; });
  return peer_reason_;
}

void ControlLink::drain(Deadline deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [this] { return ended_.has_value(); });
}

void ControlLink::read_messages() {
  while (true) {
    Result<std::vector<std::byte>> bytes = channel_.receive(deadline_in(peer_timeout_));
    if (!bytes) {
      Error error = bytes.error();
      if (error.code == Errc::kTimeout) {
        error = fail(Errc::kPeerLost, "{} has been silent for {:.0f} s", channel_.peer_address(),
                     to_seconds(peer_timeout_))
                    .value();
      }
      return end_with(error);
    }
    Result<ControlMessage> message = decode(*bytes);
    if (!message) return end_with(message.error());
    if (std::holds_alternative<Heartbeat>(*message)) continue;
    if (aside_ && aside_(*message)) continue;

    if (const auto error = reason_to_end(*message)) {
      peer_gave_up_.store(true, std::memory_order_release);
      interruption_.raise(*error);
    }
    std::lock_guard lock(mutex_);
    if (!peer_reason_) peer_reason_ = reason_to_end(*message);
    messages_.push_back(std::move(*message));
    changed_.notify_all();
  }
}

void ControlLink::end_with(const Error& error) {
  {
    std::lock_guard lock(mutex_);
    ended_ = error;
    changed_.notify_all();
  }
  interruption_.raise(error);
}

void ControlLink::send_heartbeats(const std::stop_token& stop) {
  const auto interval = std::min<Clock::duration>(seconds(1), peer_timeout_ / 4);
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested()) {
    never.wait_for(lock, stop, interval, [] { return false; });
    if (stop.stop_requested()) return;
    // A failure to send shows at the reader, which has the better words for it.
    if (!send(Heartbeat{})) return;
  }
}

}  // namespace godwit
