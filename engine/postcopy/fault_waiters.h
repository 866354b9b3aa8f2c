// SPDX-License-Identifier: Apache-2.0
//
// Those who wait for a page that another lane is fetching already: kept so that the lane that
// brings the page can say how long they waited, without anybody looking for its arrival meanwhile.
//
// Only for measuring: those who wait are let go by whoever installs the page.
//
// Thread: any, all of it; lock-free, since real-time threads use it together with others.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>

#include "engine/base/time.h"
#include "engine/memory/page_bitmap.h"
#include "engine/postcopy/page_ledger.h"

namespace godwit::postcopy {

// Who waits, and since when.
struct Wait {
  Clock::time_point since;
  int32_t vcpu;  // as PageFault::vcpu
};

class FaultWaiters {
 public:
  using Ended = std::function<void(const Wait& wait)>;

  // Somebody waits for a page that was in flight just now. One that has come meanwhile ends the
  // wait here. More than there is room for are not kept.
  void add(const PageLedger& ledger, PageClaim page, const Wait& wait, const Ended& ended);

  // These pages are within the guest's reach.
  void arrived(const PageClaim& pages, const Ended& ended);

  // Those whose page was given back: they ask again, and are somebody else's.
  void drop_missing(const PageLedger& ledger);

 private:
  static constexpr size_t kRoom = 256;
  static constexpr uint64_t kFree = 0;
  static constexpr uint64_t kOwned = 1;  // by one thread, which writes or reads the rest

  struct Slot {
    std::atomic<uint64_t> page{kFree};  // key_of() it
    Wait wait{};
  };

  static uint64_t key_of(uint32_t block, uint64_t page);
  // The wait of the slot, when it is still for this page, and nobody else has taken it.
  std::optional<Wait> take(Slot& slot, uint64_t key);

  std::array<Slot, kRoom> slots_;
  std::atomic<uint32_t> count_{0};  // of slots that are not free, or more for a moment
};

}  // namespace godwit::postcopy
