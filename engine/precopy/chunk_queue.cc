// SPDX-License-Identifier: Apache-2.0
#include "engine/precopy/chunk_queue.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/units.h"

namespace godwit::precopy {
namespace {

// Small enough to spread a guest over the lanes, large enough for whole frames.
constexpr uint64_t kChunkBytes = 4 * kMiB;

std::vector<Chunk> cut_into_chunks(const GuestMemory& memory) {
  std::vector<Chunk> chunks;
  for (uint32_t block = 0; block < memory.size(); ++block) {
    const uint64_t pages = memory[block].page_count();
    const uint64_t step = std::max<uint64_t>(1, kChunkBytes / memory[block].page_size_bytes);
    for (uint64_t page = 0; page < pages; page += step) {
      chunks.push_back({block, {page, std::min(step, pages - page)}});
    }
  }
  return chunks;
}

}  // namespace

size_t ChunkQueue::Heap::left() const {
  const size_t taken = next.load(std::memory_order_relaxed);
  return chunks.size() - std::min(taken, chunks.size());
}

ChunkQueue::ChunkQueue(const GuestMemory& memory, size_t rails, size_t home_rails)
    : chunks_(cut_into_chunks(memory)), heaps_(std::make_unique<Heap[]>(rails)), rails_(rails) {
  std::vector<uint32_t> in_turn(chunks_.size());
  for (size_t chunk = 0; chunk < chunks_.size(); ++chunk)
    in_turn[chunk] = static_cast<uint32_t>(chunk % home_rails);
  set_homes(in_turn);
}

void ChunkQueue::set_homes(std::span<const uint32_t> homes) {
  CHECK(homes.size() == chunks_.size());
  homes_.assign(homes.begin(), homes.end());
  for (size_t rail = 0; rail < rails_; ++rail) heaps_[rail].chunks.clear();
  for (size_t chunk = 0; chunk < homes.size(); ++chunk)
    heaps_[homes[chunk]].chunks.push_back(static_cast<ChunkIndex>(chunk));
}

void ChunkQueue::refill() {
  for (size_t rail = 0; rail < rails_; ++rail)
    heaps_[rail].next.store(0, std::memory_order_relaxed);
  std::lock_guard lock(mutex_);
  put_back_.clear();
  put_back_count_ = 0;
}

std::optional<TakenChunk> ChunkQueue::take(size_t rail) {
  if (auto own = take_from(heaps_[rail])) return TakenChunk{*own, Turn::kFirst, Share::kOwn};
  if (put_back_count_.load(std::memory_order_acquire) > 0) {
    std::lock_guard lock(mutex_);
    if (!put_back_.empty()) {
      const ChunkIndex chunk = put_back_.back();
      put_back_.pop_back();
      put_back_count_ = put_back_.size();
      return TakenChunk{chunk, Turn::kAgain, Share::kAnothers};
    }
  }
  while (true) {
    Heap* const busiest =
        std::max_element(heaps_.get(), heaps_.get() + rails_,
                         [](const Heap& a, const Heap& b) { return a.left() < b.left(); });
    if (busiest->left() == 0) return std::nullopt;
    if (auto stolen = take_from(*busiest))
      return TakenChunk{*stolen, Turn::kFirst, Share::kAnothers};
  }
}

std::optional<ChunkIndex> ChunkQueue::take_from(Heap& heap) {
  if (heap.left() == 0) return std::nullopt;
  // SAFETY: relaxed is enough; the chunks were published with the round.
  const size_t place = heap.next.fetch_add(1, std::memory_order_relaxed);
  if (place >= heap.chunks.size()) return std::nullopt;
  return heap.chunks[place];
}

void ChunkQueue::put_back(std::span<const ChunkIndex> chunks) {
  std::lock_guard lock(mutex_);
  put_back_.insert(put_back_.end(), chunks.begin(), chunks.end());
  put_back_count_.store(put_back_.size(), std::memory_order_release);
}

bool ChunkQueue::has_work() const {
  if (put_back_count_.load(std::memory_order_acquire) > 0) return true;
  return std::any_of(heaps_.get(), heaps_.get() + rails_,
                     [](const Heap& heap) { return heap.left() > 0; });
}

}  // namespace godwit::precopy
