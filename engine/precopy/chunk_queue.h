// SPDX-License-Identifier: Apache-2.0
//
// The work of a round: guest memory cut into chunks, each at home on one rail. A lane takes the
// chunks of its own rail first, then helps the rail that has most left.
//
// take() adds one to a counter; there is no lock between lanes, but for chunks that a lost lane
// left behind.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "engine/memory/guest_memory.h"
#include "engine/memory/page_bitmap.h"

namespace godwit::precopy {

// Pages of one block, the unit that lanes share work in.
struct Chunk {
  uint32_t block;
  PageRun pages;
};

// A chunk by its place in chunks().
using ChunkIndex = uint32_t;

// Whether the pages of a chunk may have been sent before in this round.
enum class Turn : uint8_t { kFirst = 1, kAgain = 2 };

// Whose chunk it is.
enum class Share : uint8_t { kOwn = 1, kAnothers = 2 };

struct TakenChunk {
  ChunkIndex index;
  Turn turn;
  Share share;
};

// Thread: take(), put_back(), share_of() and has_work() from any; the rest while no lane works.
class ChunkQueue {
 public:
  // Chunks are at home on the first `home_rails` rails only.
  ChunkQueue(const GuestMemory& memory, size_t rails, size_t home_rails);

  const std::vector<Chunk>& chunks() const { return chunks_; }

  // The rail that each chunk is at home on, one per chunk. Until this is called: in turn.
  void set_homes(std::span<const uint32_t> homes);

  Share share_of(ChunkIndex chunk, size_t rail) const {
    return homes_[chunk] == rail ? Share::kOwn : Share::kAnothers;
  }

  // Everything is to be taken once more.
  void refill();

  std::optional<TakenChunk> take(size_t rail);

  // Chunks that were taken, and whose pages are to be sent once more.
  void put_back(std::span<const ChunkIndex> chunks);

  bool has_work() const;

 private:
  struct alignas(64) Heap {
    std::vector<ChunkIndex> chunks;
    std::atomic<size_t> next{0};

    size_t left() const;
  };
  std::optional<ChunkIndex> take_from(Heap& heap);

  std::vector<Chunk> chunks_;
  std::vector<uint32_t> homes_;    // the rail of each
  std::unique_ptr<Heap[]> heaps_;  // one per rail
  const size_t rails_;

  std::atomic<size_t> put_back_count_{0};
  std::mutex mutex_;
  std::vector<ChunkIndex> put_back_;
};

}  // namespace godwit::precopy
