// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/inbox.h"

#include <algorithm>
#include <cstring>

#include "engine/base/check.h"

namespace godwit {

Inbox::Inbox() : ring_(std::make_unique<std::byte[]>(kInboxBytes)) {}

bool Inbox::push(std::span<const std::byte> message) {
  const uint64_t needed = kInboxPrefixBytes + message.size();
  if (needed > kInboxBytes - (pushed_bytes_ - consumed_bytes_)) return false;
  const auto length = static_cast<uint32_t>(message.size());
  write(pushed_bytes_, std::as_bytes(std::span(&length, 1)));
  write(pushed_bytes_ + kInboxPrefixBytes, message);
  pushed_bytes_ += needed;
  return true;
}

size_t Inbox::front_bytes() const {
  CHECK(!empty());
  uint32_t length = 0;
  read(consumed_bytes_, std::as_writable_bytes(std::span(&length, 1)));
  return length;
}

void Inbox::pop(std::span<std::byte> output) {
  const size_t length = front_bytes();
  read(consumed_bytes_ + kInboxPrefixBytes, output.first(length));
  consumed_bytes_ += kInboxPrefixBytes + length;
}

void Inbox::write(uint64_t at, std::span<const std::byte> bytes) {
  const size_t start = at % kInboxBytes;
  const size_t before_end = std::min<size_t>(bytes.size(), kInboxBytes - start);
  if (before_end > 0) std::memcpy(&ring_[start], bytes.data(), before_end);
  if (bytes.size() > before_end) {
    std::memcpy(&ring_[0], bytes.data() + before_end, bytes.size() - before_end);
  }
}

void Inbox::read(uint64_t at, std::span<std::byte> bytes) const {
  const size_t start = at % kInboxBytes;
  const size_t before_end = std::min<size_t>(bytes.size(), kInboxBytes - start);
  if (before_end > 0) std::memcpy(bytes.data(), &ring_[start], before_end);
  if (bytes.size() > before_end) {
    std::memcpy(bytes.data() + before_end, &ring_[0], bytes.size() - before_end);
  }
}

}  // namespace godwit
