// SPDX-License-Identifier: Apache-2.0
//
// How one end of a lane learns the device's keys for the other end's memory: it asks for a chunk,
// the other end registers it and answers. These messages go between those of the engine, as Sends
// with immediate data.
//
// A remote region is named by a random number for the migration; the device's own keys come and go
// with its chunks, and are another one on every rail.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/transport.h"
#include "transports/rdma/chunk_map.h"

namespace godwit {

enum class KeyMessageKind : uint32_t { kWanted = 1, kReady = 2, kFailed = 3 };

// As it travels, little-endian.
struct KeyMessage {
  KeyMessageKind kind;
  uint32_t chunk;
  uint64_t region;
  uint32_t key;    // kReady: the device's
  uint32_t error;  // kFailed: an errno
};
static_assert(sizeof(KeyMessage) == 24);

// Errors: kCorrupt.
Result<KeyMessage> decode_key_message(std::span<const std::byte> bytes);

// What this end knows of the peer's regions. Allocates when a region is first seen, never again.
// Thread: one.
class RemoteKeys {
 public:
  struct Region {
    Region(uint64_t number, uint64_t size_bytes)
        : name(number), map(size_bytes), keys(map.count()), states(map.count()) {}

    uint64_t name;
    ChunkMap map;
    std::vector<uint32_t> keys;
    enum class State : uint8_t { kUnknown = 0, kAsked, kKnown };
    std::vector<State> states;
  };

  Region& find(const RemoteRegion& region);

  // Takes the answer to a question. Errors: kCorrupt when nobody asked.
  Status learn(const KeyMessage& answer);

 private:
  std::unordered_map<uint64_t, Region> regions_;
  Region* last_ = nullptr;
};

}  // namespace godwit
