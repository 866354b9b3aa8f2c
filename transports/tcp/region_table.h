// SPDX-License-Identifier: Apache-2.0
//
// The registered memory of one TcpTransport. "Registered" means here: the peer may name it by key,
// and what arrives for it is received straight into it. Nothing is pinned.
//
// Endpoints look regions up once per segment, so each keeps its own copy of the table (RegionView)
// and takes the lock only after a registration has changed it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "engine/transport.h"

namespace godwit {

inline constexpr size_t kRegionsMax = 1024;

struct RegionEntry {
  uint64_t key;
  std::byte* start;
  uint64_t size_bytes;
  RemoteAccess access;
};

// Thread: any.
class RegionTable {
 public:
  // Returns the new region's key: random, so that one who was not told cannot name it.
  Result<uint64_t> add(std::span<std::byte> bytes, RemoteAccess access);
  void remove(uint64_t key);

  // What an endpoint's copy is made from. One atomic load when `snapshot` is up to date.
  struct Snapshot {
    uint64_t generation = 0;
    size_t entry_count = 0;
    std::array<RegionEntry, kRegionsMax> entries;
  };
  void refresh(Snapshot& snapshot);

 private:
  std::mutex mutex_;
  std::array<RegionEntry, kRegionsMax> entries_{};
  size_t entry_count_ = 0;
  std::atomic<uint64_t> generation_{1};
};

// One endpoint's copy. Thread: one.
class RegionView {
 public:
  explicit RegionView(RegionTable& table) : table_(table) {}

  // Returns the region, or null. The pointer is good until the next call of refresh().
  const RegionEntry* find(uint64_t key) const;

  // Takes over what was registered since.
  void refresh() { table_.refresh(snapshot_); }

 private:
  RegionTable& table_;
  RegionTable::Snapshot snapshot_;
  mutable size_t last_found_ = 0;
};

class TcpRegion final : public MemoryRegion {
 public:
  static Result<std::unique_ptr<TcpRegion>> open(std::shared_ptr<RegionTable> table,
                                                 std::span<std::byte> bytes, RemoteAccess access);
  ~TcpRegion() override;

  std::span<std::byte> bytes() const override { return bytes_; }
  RemoteRegion describe() const override { return {0, bytes_.size(), key_}; }
  uint64_t key() const { return key_; }

 private:
  TcpRegion(std::shared_ptr<RegionTable> table, std::span<std::byte> bytes, uint64_t key);

  // Shared by the transport, its regions and its endpoints, which may be destroyed in any order.
  std::shared_ptr<RegionTable> table_;
  std::span<std::byte> bytes_;
  uint64_t key_;
};

}  // namespace godwit
