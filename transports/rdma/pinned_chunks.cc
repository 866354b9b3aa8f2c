// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/pinned_chunks.h"

#include "transports/rdma/rdma_region.h"

namespace godwit {

PinnedChunks::PinnedChunks(std::shared_ptr<RdmaDevice> device, std::span<std::byte> bytes,
                           RemoteAccess access)
    : device_(std::move(device)),
      bytes_(bytes),
      access_(access),
      map_(bytes.size()),
      chunks_(std::make_unique<Chunk[]>(map_.count())) {}

PinnedChunks::~PinnedChunks() {
  close();
}

Result<const ibv_mr*> PinnedChunks::ensure(size_t chunk) {
  Chunk& wanted = chunks_[chunk];
  if (ibv_mr* region = wanted.region.load(std::memory_order_acquire)) return region;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !wanted.busy; });
  if (ibv_mr* region = wanted.region.load(std::memory_order_relaxed)) return region;
  if (closed_) return fail(Errc::kCancelled, "the memory is not registered any more");
  wanted.busy = true;
  lock.unlock();
  const Result<const ibv_mr*> registered = register_chunk(chunk);
  lock.lock();
  wanted.busy = false;
  changed_.notify_all();
  return registered;
}

Result<const ibv_mr*> PinnedChunks::register_chunk(size_t chunk) {
  const std::span<std::byte> bytes =
      bytes_.subspan(map_.begin(chunk), map_.end(chunk) - map_.begin(chunk));
  ASSIGN_OR_RETURN(VerbsHandle<ibv_mr> region, register_with(*device_, bytes, access_));
  ibv_mr* const result = region.release();
  chunks_[chunk].region.store(result, std::memory_order_release);
  return result;
}

void PinnedChunks::close() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  for (size_t i = 0; i < map_.count(); ++i) {
    Chunk& chunk = chunks_[i];
    changed_.wait(lock, [&] { return !chunk.busy; });
    VerbsHandle<ibv_mr> ended(chunk.region.exchange(nullptr));
  }
}

}  // namespace godwit
