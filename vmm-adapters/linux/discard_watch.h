// SPDX-License-Identifier: Apache-2.0
//
// Pages that were discarded and came back: what write tracking cannot see.
//
// A balloon, free-page reporting or virtio-mem gives a page back by punching a hole into the file.
// That is no write, and what is still a hole at the end is found by looking for holes. But a guest
// may read such a page before: the read allocates a page of zeroes, and the kernel, which kept the
// write protection of the punched page, maps it protected again. So the page has storage, is "not
// written", and its content has changed (tried, Linux 6.18, tmpfs; hugetlbfs drops the protection,
// and is right).
//
// A punch removes a page from *every* mapping of the file. So this keeps a mapping of its own that
// nobody touches, with all present pages mapped: a page that has storage and is not mapped there
// any more was discarded since (or swapped out, which does no harm to take for it).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "engine/memory/guest_memory.h"

namespace godwit {

// Thread: one at a time.
class DiscardWatch {
 public:
  // Watches the blocks that need it. Ownership: `memory` outlives the watch.
  static Result<std::unique_ptr<DiscardWatch>> open(const GuestMemory& memory);
  ~DiscardWatch();
  DiscardWatch(const DiscardWatch&) = delete;
  DiscardWatch& operator=(const DiscardWatch&) = delete;

  // Adds to `pages` those that have storage now and did not have it all the time since open() or
  // the last collect(). Never allocates a page.
  Status collect(GuestPageSet& pages);

 private:
  struct WatchedBlock {
    size_t index;
    void* start;
    size_t size_bytes;
  };

  explicit DiscardWatch(const GuestMemory& memory) : memory_(memory) {}
  Status watch(size_t block_index);
  Status collect_block(const WatchedBlock& watched, PageBitmap& pages);
  // Maps what has storage in a part of the block that is not mapped, and reports it.
  Status map_present(const WatchedBlock& watched, uint64_t begin, uint64_t end, PageBitmap& pages);

  const GuestMemory& memory_;
  UniqueFd pagemap_;
  UniqueFd userfaultfd_;
  std::vector<WatchedBlock> blocks_;
};

}  // namespace godwit
