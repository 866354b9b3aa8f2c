// SPDX-License-Identifier: Apache-2.0
#include "transports/loopback/loopback_link.h"

#include <sys/random.h>

#include "engine/base/check.h"

namespace godwit {
namespace {

// As much as a TCP lane holds back for a peer that does not receive.
constexpr size_t kMessageBytesWaitingMax = 1 << 20;

}  // namespace

uint64_t LoopbackRegions::add(std::span<std::byte> bytes, RemoteAccess access) {
  uint64_t key = 0;
  CHECK(::getrandom(&key, sizeof(key), 0) == sizeof(key));
  std::unique_lock lock(mutex_);
  entries_.insert({key, {bytes, access}});
  return key;
}

void LoopbackRegions::remove(uint64_t key) {
  std::unique_lock lock(mutex_);
  entries_.erase(key);
}

Result<std::span<std::byte>> LoopbackRegions::find(uint64_t key, uint64_t offset, uint64_t size,
                                                   RemoteAccess needed) const {
  auto found = entries_.find(key);
  if (found == entries_.end()) return fail(Errc::kCorrupt, "an operation on an unknown region");
  const Entry& entry = found->second;
  if ((static_cast<unsigned>(entry.access) & static_cast<unsigned>(needed)) == 0) {
    return fail(Errc::kCorrupt, "an operation on a region that does not allow it");
  }
  if (offset > entry.bytes.size() || size > entry.bytes.size() - offset) {
    return fail(Errc::kCorrupt, "{} bytes at offset {:#x} are outside a region of {:#x} bytes",
                size, offset, entry.bytes.size());
  }
  return entry.bytes.subspan(offset, size);
}

void LoopbackLink::end(const Error& error_here, LinkSide side) {
  std::lock_guard lock(mutex_);
  const size_t here = index(side);
  if (error_[here]) return;
  error_[here] = error_here;
  if (!error_[1 - here]) {
    const bool corrupt = error_here.code == Errc::kCorrupt;
    error_[1 - here] = fail(corrupt ? Errc::kCorrupt : Errc::kPeerLost,
                            "the loopback peer ended the connection: {}", error_here.text())
                           .value();
  }
  changed_.notify_all();
}

std::optional<Error> LoopbackLink::ended(LinkSide side) {
  std::lock_guard lock(mutex_);
  return error_[index(side)];
}

Status LoopbackLink::send(LinkSide side, std::span<const std::byte> message, Deadline deadline) {
  std::unique_lock lock(mutex_);
  const size_t peer = 1 - index(side);
  const bool in_time = changed_.wait_until(lock, deadline, [&] {
    return error_[index(side)] || message_bytes_[peer] + message.size() <= kMessageBytesWaitingMax;
  });
  if (error_[index(side)]) return tl::unexpected<Error>(*error_[index(side)]);
  if (!in_time) return fail(Errc::kTimeout, "send a message: the peer does not take its messages");
  messages_[peer].emplace_back(message.begin(), message.end());
  message_bytes_[peer] += message.size();
  changed_.notify_all();
  return {};
}

Result<std::vector<std::byte>> LoopbackLink::receive(LinkSide side, Deadline deadline) {
  std::unique_lock lock(mutex_);
  auto& waiting = messages_[index(side)];
  const bool in_time = changed_.wait_until(
      lock, deadline, [&] { return !waiting.empty() || error_[index(side)].has_value(); });
  if (!waiting.empty()) {
    std::vector<std::byte> message = std::move(waiting.front());
    waiting.pop_front();
    message_bytes_[index(side)] -= message.size();
    changed_.notify_all();
    return message;
  }
  if (!in_time) return fail(Errc::kTimeout, "wait for a message");
  return tl::unexpected<Error>(*error_[index(side)]);
}

}  // namespace godwit
