// SPDX-License-Identifier: Apache-2.0
//
// What the background fetches next, while faults are served on a lane of their own:
//
//   1. what lies ahead of a guest that reads in some order (read_ahead.h)
//   2. what lies around the latest fault: the rest of its region, 2 MiB, from the fault on
//   3. what is left of the other regions in which there were faults
//   4. all others in order
//
// A guest that works in a part of its memory, in whatever order, has that part first: it is back at
// its full speed when all of it is here, and each page of it that comes unasked is a fault less.
//
// Looks at no page twice, except after one was given back: that brings one more pass at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/memory/guest_memory.h"
#include "engine/memory/page_bitmap.h"
#include "engine/postcopy/page_ledger.h"
#include "engine/postcopy/read_ahead.h"

namespace godwit::postcopy {

// Thread: any; a mutex that is held for microseconds.
//
// note_fault() never waits for it: who calls it is urgent, and who holds it may not be.
class FetchOrder {
 public:
  explicit FetchOrder(const GuestMemory& memory);

  // Somebody waits for this page, or would have, had it not just arrived. May be forgotten.
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

  // Pages [next, end) of a block.
  struct Stretch {
    uint32_t block = 0;
    uint64_t next = 0;
    uint64_t end = 0;
  };
  struct Block {
    uint64_t page_count;
    uint64_t region_pages;
    PageBitmap
        faulted;  // regions in which there was a fault, and in which something may be missing
  };

  std::optional<PageClaim> next_near_faults(PageLedger& ledger);
  std::optional<PageClaim> next_in_order(PageLedger& ledger);
  // Claims the stretch's next run, and moves on behind it.
  static std::optional<PageClaim> take(Stretch& stretch, PageLedger& ledger);

  std::mutex mutex_;
  ReadAhead read_ahead_;
  std::vector<Block> blocks_;
  Stretch latest_;  // around the latest fault
  Cursor cursor_;
  uint64_t give_backs_seen_ = 0;  // when the cursor last started
};

}  // namespace godwit::postcopy
