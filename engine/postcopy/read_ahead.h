// SPDX-License-Identifier: Apache-2.0
//
// Guesses from the guest's faults which pages it will touch next.
//
// A fault begins a stream: the guess that the pages after it follow. Nothing comes of a single one.
// A stream that the guest stays in (its next fault lies where the stream leads) is read ahead, and
// twice as far each time, from 64 KiB to 2 MiB; what a stream does not explain collapses it. Three
// faults at equal distances, forward or backward, begin a stream with that stride. Several streams
// run at once, one per vCPU or more; those that have never been right make room first, so that
// random faults do not crowd out a sequential reader, which faults rarely once its window is large.
//
// Pages are of their block's page size. Huge ones are few and heavy: 2 MiB pages are read ahead
// from 2 to 8, 1 GiB pages one at a time.
//
// Thread: not synchronised.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/memory/guest_memory.h"
#include "engine/postcopy/page_ledger.h"

namespace godwit::postcopy {

class ReadAhead {
 public:
  explicit ReadAhead(const GuestMemory& memory);

  // The page itself is not read ahead: who takes the fault fetches it.
  void note_fault(uint32_t block, uint64_t page);

  // Claims what is guessed next, of the stream with the latest fault first; nothing when no stream
  // has anything missing ahead.
  std::optional<PageClaim> next(PageLedger& ledger);

 private:
  static constexpr size_t kStreams = 16;
  static constexpr size_t kMisses = 16;

  struct Block {
    int64_t page_count;
    int64_t window_min;
    int64_t window_max;
  };
  struct Stream {
    uint32_t block = 0;
    int64_t stride = 0;  // 0 = not in use
    int64_t last = 0;    // the latest fault
    int64_t next = 0;    // to be read ahead next
    int64_t left = 0;    // how many strides from there
    int64_t window = 0;
    uint64_t noted_at = 0;
    bool confirmed = false;
  };
  struct Miss {
    uint32_t block = 0;
    int64_t page = -1;  // -1 = none
  };

  bool continues_a_stream(uint32_t block, int64_t page);
  void collapse_around(uint32_t block, int64_t page);
  std::optional<int64_t> stride_to(uint32_t block, int64_t page) const;
  void begin(Stream stream);
  void aim(Stream& stream) const;
  std::optional<PageRun> take(Stream& stream, PageLedger& ledger) const;

  std::vector<Block> blocks_;
  std::array<Stream, kStreams> streams_{};
  std::array<Miss, kMisses> misses_{};  // faults that no stream had led to; a ring
  size_t next_miss_ = 0;
  uint64_t faults_ = 0;
};

}  // namespace godwit::postcopy
