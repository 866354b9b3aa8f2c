// SPDX-License-Identifier: Apache-2.0
//
// Messages that have arrived and that nobody has received yet. Fixed size: a peer may have at most
// kInboxBytes of messages unconsumed, each counted with its length prefix. It learns from every Ack
// how much has been consumed, so an honest peer waits and a dishonest one is found out; neither
// makes us allocate, and a full inbox never stops the pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace godwit {

inline constexpr uint64_t kInboxBytes = 1 << 20;
inline constexpr uint64_t kInboxPrefixBytes = 4;

// Thread: one.
class Inbox {
 public:
  Inbox();

  // Returns false, and keeps nothing, when the message does not fit.
  bool push(std::span<const std::byte> message);

  bool empty() const { return pushed_bytes_ == consumed_bytes_; }
  // Requires: !empty().
  size_t front_bytes() const;
  // Copies the oldest message to the start of `output` and drops it. Requires: it fits.
  void pop(std::span<std::byte> output);

  uint64_t consumed_bytes() const { return consumed_bytes_; }

 private:
  void write(uint64_t at, std::span<const std::byte> bytes);
  void read(uint64_t at, std::span<std::byte> bytes) const;

  std::unique_ptr<std::byte[]> ring_;
  uint64_t pushed_bytes_ = 0;
  uint64_t consumed_bytes_ = 0;
};

}  // namespace godwit
