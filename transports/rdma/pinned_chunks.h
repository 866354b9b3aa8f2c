// SPDX-License-Identifier: Apache-2.0
//
// Guest memory as a device knows it: each chunk is pinned and registered when it is first needed,
// by whoever needs it first. A chunk that carries nothing is never pinned, so a guest's holes stay
// holes where a whole chunk of them lies together.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>

#include "engine/transport.h"
#include "transports/rdma/chunk_map.h"
#include "transports/rdma/rdma_device.h"

namespace godwit {

// Thread: any.
class PinnedChunks {
 public:
  PinnedChunks(std::shared_ptr<RdmaDevice> device, std::span<std::byte> bytes, RemoteAccess access);
  ~PinnedChunks();
  PinnedChunks(const PinnedChunks&) = delete;
  PinnedChunks& operator=(const PinnedChunks&) = delete;

  const ChunkMap& map() const { return map_; }

  // The chunk's registration, which lasts until close(). Registers it, or waits for whoever does.
  Result<const ibv_mr*> ensure(size_t chunk);

  // Ends all registrations, and lets no new one begin: then the memory is not pinned any more.
  void close();

 private:
  struct Chunk {
    std::atomic<ibv_mr*> region{nullptr};
    bool busy = false;
  };

  Result<const ibv_mr*> register_chunk(size_t chunk);

  std::shared_ptr<RdmaDevice> device_;  // its protection domain outlives the registrations
  const std::span<std::byte> bytes_;
  const RemoteAccess access_;
  const ChunkMap map_;
  std::unique_ptr<Chunk[]> chunks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;
};

}  // namespace godwit
