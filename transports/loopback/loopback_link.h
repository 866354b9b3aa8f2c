// SPDX-License-Identifier: Apache-2.0
//
// What the two endpoints of a loopback connection share: the messages in both directions, whether
// the connection stands, and the regions that each side has registered.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <vector>

#include "engine/transport.h"

namespace godwit {

// The registered memory of one transport. Thread: any. A region is not destroyed while somebody
// copies to or from it.
class LoopbackRegions {
 public:
  uint64_t add(std::span<std::byte> bytes, RemoteAccess access);
  void remove(uint64_t key);

  // Calls `copy` with the bytes that are meant. Errors: kCorrupt when they are not the peer's to
  // use.
  template <typename Copy>
  Status with_bytes(uint64_t key, uint64_t offset, uint64_t size, RemoteAccess needed, Copy copy) {
    std::shared_lock lock(mutex_);
    ASSIGN_OR_RETURN(std::span<std::byte> bytes, find(key, offset, size, needed));
    copy(bytes);
    return {};
  }

 private:
  struct Entry {
    std::span<std::byte> bytes;
    RemoteAccess access;
  };
  Result<std::span<std::byte>> find(uint64_t key, uint64_t offset, uint64_t size,
                                    RemoteAccess needed) const;

  std::shared_mutex mutex_;
  std::map<uint64_t, Entry> entries_;
};

enum class LinkSide : uint8_t { kConnected = 0, kAccepted = 1 };

// Thread: any.
class LoopbackLink {
 public:
  LoopbackLink(std::shared_ptr<LoopbackRegions> connected,
               std::shared_ptr<LoopbackRegions> accepted)
      : regions_{std::move(connected), std::move(accepted)} {}

  LoopbackRegions& regions_of_peer(LinkSide side) { return *regions_[1 - index(side)]; }

  // The first end counts. Messages that were sent before it still arrive.
  void end(const Error& error_here, LinkSide side);
  std::optional<Error> ended(LinkSide side);

  Status send(LinkSide side, std::span<const std::byte> message, Deadline deadline);
  Result<std::vector<std::byte>> receive(LinkSide side, Deadline deadline);

 private:
  static size_t index(LinkSide side) { return static_cast<size_t>(side); }

  // Shared with the transports and their regions, which may be destroyed in any order.
  std::array<std::shared_ptr<LoopbackRegions>, 2> regions_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::array<std::optional<Error>, 2> error_;                   // by side
  std::array<std::deque<std::vector<std::byte>>, 2> messages_;  // by the side that receives
  std::array<size_t, 2> message_bytes_{};
};

}  // namespace godwit
