// SPDX-License-Identifier: Apache-2.0
//
// SAFETY: a slot is written and read by the one that has made it kOwned, and handed over by storing
// the key or kFree. Who adds first stores the key and then looks whether the page has come; who
// brings a page first marks it received and then looks for keys. In between both modify the count
// (a fence would do as well, and the thread sanitizer does not know fences): the later of the two
// sees what the earlier one had done before. A slot is counted before anybody can take it, so that
// the count is never less than what waits.
#include "engine/postcopy/fault_waiters.h"

namespace godwit::postcopy {
namespace {

constexpr unsigned kPageBits = 44;

}  // namespace

uint64_t FaultWaiters::key_of(uint32_t block, uint64_t page) {
  return (uint64_t{block} + 1) << kPageBits | page;
}

std::optional<Wait> FaultWaiters::take(Slot& slot, uint64_t key) {
  if (!slot.page.compare_exchange_strong(key, kOwned)) return std::nullopt;
  const Wait wait = slot.wait;
  slot.page.store(kFree);
  count_.fetch_sub(1);
  return wait;
}

void FaultWaiters::add(const PageLedger& ledger, PageClaim page, const Wait& wait,
                       const Ended& ended) {
  const uint64_t key = key_of(page.block, page.pages.first_page);
  for (Slot& slot : slots_) {
    uint64_t free = kFree;
    if (!slot.page.compare_exchange_strong(free, kOwned)) continue;
    slot.wait = wait;
    count_.fetch_add(1);
    slot.page.store(key);
    count_.fetch_add(0);
    const PageState state = ledger.state(page.block, page.pages.first_page);
    if (state == PageState::kInFlight || !take(slot, key)) return;
    if (state == PageState::kReceived) ended(wait);
    return;
  }
}

void FaultWaiters::arrived(const PageClaim& pages, const Ended& ended) {
  if (count_.fetch_add(0) == 0) return;
  const uint64_t first = key_of(pages.block, pages.pages.first_page);
  for (Slot& slot : slots_) {
    const uint64_t key = slot.page.load();
    if (key < first || key >= first + pages.pages.page_count) continue;
    if (const std::optional<Wait> wait = take(slot, key)) ended(*wait);
  }
}

void FaultWaiters::drop_missing(const PageLedger& ledger) {
  if (count_.load() == 0) return;
  for (Slot& slot : slots_) {
    const uint64_t key = slot.page.load();
    if (key == kFree || key == kOwned) continue;
    const auto block = static_cast<uint32_t>((key >> kPageBits) - 1);
    const uint64_t page = key & ((uint64_t{1} << kPageBits) - 1);
    if (ledger.state(block, page) == PageState::kMissing) (void)take(slot, key);
  }
}

}  // namespace godwit::postcopy
