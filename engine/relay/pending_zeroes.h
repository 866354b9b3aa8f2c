// SPDX-License-Identifier: Apache-2.0
//
// Pages that a lane is going to have cleared at the other end, gathered into one message.
#pragma once

#include <cstdint>

#include "engine/relay/placed_pages.h"
#include "engine/wire/lane_messages.h"

namespace godwit::relay {

// Thread: one.
class PendingZeroes {
 public:
  PendingZeroes() { message_.runs.reserve(kZeroRunsMax); }

  bool empty() const { return message_.runs.empty(); }
  const ZeroRuns& message() const { return message_; }
  void clear() { message_.runs.clear(); }

  // False where it does not go into the same message as what there is: that has to be sent first.
  bool add(uint32_t block, uint64_t page, const PlacedPages& placed) {
    const PageHistory history =
        placed.test(block, page) ? PageHistory::kSent : PageHistory::kUntouched;
    const bool same = message_.block == block && message_.history == history;
    if (!empty() && (!same || message_.runs.size() == kZeroRunsMax)) return false;
    message_.block = block;
    message_.history = history;
    if (!empty()) {
      PageRun& last = message_.runs.back();
      if (last.first_page + last.page_count == page) {
        ++last.page_count;
        return true;
      }
    }
    message_.runs.push_back({page, 1});
    return true;
  }

 private:
  ZeroRuns message_;
};

}  // namespace godwit::relay
