// SPDX-License-Identifier: Apache-2.0
//
// What the background fetches next, while faults are served on a lane of their own: first what is
// guessed from recent faults (read_ahead.h), then all others in order.
//
// Looks at no page twice, except after one was given back: that brings one more pass at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/memory/guest_memory.h"
#include "engine/postcopy/page_ledger.h"
#include "engine/postcopy/read_ahead.h"

namespace godwit::postcopy {

// Thread: any; a mutex that is held for microseconds.
class FetchOrder {
 public:
  explicit FetchOrder(const GuestMemory& memory);

  // Somebody waits for this page, or would have, had it not just arrived.
  void note_fault(uint32_t block, uint64_t page);

  // Claims the next run in the ledger, which is the same one in all calls. Nothing when no page is
  // missing; pages in flight may be given back, and are then handed out again.
  std::optional<PageClaim> next(PageLedger& ledger);

 private:
  // A place in all of memory, block by block.
  struct Cursor {
    uint32_t block = 0;
    uint64_t page = 0;
  };

  std::optional<PageClaim> next_in_order(PageLedger& ledger);

  std::mutex mutex_;
  ReadAhead read_ahead_;
  std::vector<uint64_t> page_counts_;  // of each block
  Cursor cursor_;
  uint64_t give_backs_seen_ = 0;  // when the cursor last started
};

}  // namespace godwit::postcopy
