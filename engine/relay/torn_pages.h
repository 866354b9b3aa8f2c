// SPDX-License-Identifier: Apache-2.0
//
// Pages that were sent from guest memory and arrived torn (engine/transport.h). While the guest
// runs, that is of no account: it has written them, and its VMM sends them again. What is torn when
// it has stopped was damaged on the way, and nobody else sends it again.
#pragma once

#include <bit>
#include <cstdint>
#include <mutex>
#include <set>
#include <utility>

#include "engine/base/units.h"
#include "engine/transport.h"

namespace godwit::relay {

// Thread: any.
class TornPages {
 public:
  struct Page {
    uint32_t block;
    uint64_t page;  // of 4 KiB, in the block

    friend auto operator<=>(const Page&, const Page&) = default;
  };

  // Of a write that begins with this page. So that it is found without a table.
  static constexpr uint64_t tag_of(Page first) {
    return kIsGuest | uint64_t{first.block} << kPageBits | first.page;
  }

  // Of any write; those of other things are of no account.
  void note(const Completion& completion) {
    if (completion.status != OpStatus::kTorn || (completion.tag & kIsGuest) == 0) return;
    const auto block = static_cast<uint32_t>((completion.tag & ~kIsGuest) >> kPageBits);
    const uint64_t first = completion.tag & ((uint64_t{1} << kPageBits) - 1);
    const std::lock_guard lock(mutex_);
    for (uint64_t bits = completion.torn_pages; bits != 0; bits &= bits - 1)
      pages_.insert({block, first + static_cast<uint64_t>(std::countr_zero(bits))});
  }

  std::set<Page> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(pages_, {});
  }

 private:
  static constexpr uint64_t kIsGuest = uint64_t{1} << 63;
  static constexpr unsigned kPageBits = 40;  // 4 PiB of a block

  std::mutex mutex_;
  std::set<Page> pages_;
};

}  // namespace godwit::relay
