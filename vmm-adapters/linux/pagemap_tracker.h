// SPDX-License-Identifier: Apache-2.0
//
// Dirty pages of shared memory as some process maps it (a VMM, or ourselves), told by the kernel:
// asynchronous write protection through a userfaultfd of that process, harvested with PAGEMAP_SCAN.
//
// What is seen: every write through that process's page tables: vCPUs, the VMM's own stores, system
// calls that copy into it. Not seen: writes through another process's mapping, long-term pinned
// DMA, and holes punched into the file (but see Options::discards); DMA in flight counts when it
// was submitted (see DirtyTracker).
//
// How it is harvested: with hardware paging a scan that also write-protects makes KVM drop its
// whole second-level page table for the range, clean pages included. So the tracker looks first,
// which disturbs nothing, and harvests only windows around what it finds: 2 MiB, growing up to 1
// GiB where dirt is dense, because there nearly all of the window has to be protected again anyway.
//
// The guest stands still for some scans, so large memory is scanned by several threads: each has
// sections of its own, which share no word of a bitmap.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/guest.h"
#include "vmm-adapters/linux/discard_watch.h"
#include "vmm-adapters/linux/pagemap_scan.h"

namespace godwit {

class PagemapTracker final : public DirtyTracker {
 public:
  struct Options {
    // Gives a fresh userfaultfd *of the tracked process*, not yet set up. Called by each start().
    std::function<Result<UniqueFd>()> open_userfaultfd;
    // /proc/PID/pagemap of the tracked process.
    UniqueFd pagemap;
    // Where each block of the guest's memory begins in the tracked process, in the order of
    // GuestMemory.
    std::vector<uint64_t> addresses;
    // With kPossible, pages that were discarded and came back count as written (discard_watch.h).
    Discards discards = Discards::kNever;
  };

  // Ownership: `memory` outlives the tracker.
  PagemapTracker(const GuestMemory& memory, Options options);
  ~PagemapTracker() override;

  Status start() override;
  Status collect(GuestPageSet& dirty) override;
  Status stop() override;

 private:
  // What one thread scans at a time.
  struct Section {
    size_t block_index;
    AddressRange range;
  };

  AddressRange range_of(size_t block_index) const;
  void cut_into_sections();
  Status for_each_section(const std::function<Status(PagemapScan&, const Section&)>& work);
  Status collect_section(PagemapScan& scan, const Section& section, PageBitmap& dirty) const;

  const GuestMemory& memory_;
  Options options_;
  std::vector<Section> sections_;
  std::vector<PagemapScan> scans_;               // one per thread
  UniqueFd userfaultfd_;                         // valid while tracking
  std::unique_ptr<DiscardWatch> discard_watch_;  // while tracking, where discards are possible
};

// A tracker of memory of this very process, e.g. of a guest that runs in it.
// Ownership: `memory` outlives the tracker.
Result<std::unique_ptr<PagemapTracker>> track_own_process(const GuestMemory& memory,
                                                          Discards discards = Discards::kNever);

}  // namespace godwit
