// SPDX-License-Identifier: Apache-2.0
//
// Registered memory that pages are copied into on their way out, where they cannot be pinned: when
// the guest gives a page back (balloon, free-page reporting, virtio-mem) the VMM punches a hole,
// and a registration goes on holding the page that was there. DMA would read that orphan for good.
// A copy goes through the page table, and reads what the guest has.
//
// A lane's requests complete in order, so the ring is freed in the order in which it was filled.
#pragma once

#include <memory>
#include <span>

#include "transports/rdma/rdma_device.h"

namespace godwit {

// Thread: one.
class StagingRing {
 public:
  static Result<std::unique_ptr<StagingRing>> make(const RdmaDevice& device);
  ~StagingRing();
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;

  bool has_room(size_t bytes) const;
  // Copies `bytes`, in one piece. Returns where to. Requires: has_room().
  std::span<std::byte> copy(std::span<const std::byte> bytes);

  // What has been copied so far may be freed once the request that is posted next has completed:
  // then free_up_to(the value returned here).
  uint64_t end() const { return head_; }
  void free_up_to(uint64_t end) { tail_ = end; }

  uint32_t local_key() const { return region_->lkey; }

 private:
  explicit StagingRing(std::span<std::byte> bytes) : bytes_(bytes) {}
  // Where a piece of that size goes: not around the end.
  uint64_t place_for(size_t bytes) const;

  std::span<std::byte> bytes_;
  VerbsHandle<ibv_mr> region_;
  uint64_t head_ = 0;  // counted without end
  uint64_t tail_ = 0;
};

}  // namespace godwit
