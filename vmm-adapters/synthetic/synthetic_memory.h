// SPDX-License-Identifier: Apache-2.0
//
// The RAM of a synthetic guest: one memfd per block, each mapped three times, because who writes
// through which mapping is what dirty tracking is about:
//   guest   the vCPUs and the VMM write here; this mapping is tracked, and in post-copy it faults
//   agent   what the engine gets to see, registers and reads or writes
//   device  DMA lands here, behind the tracker's back, as it does on a real host
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "engine/memory/guest_memory.h"
#include "vmm-adapters/synthetic/workload.h"

namespace godwit {

class SyntheticMemory {
 public:
  // Errors: kSystem, e.g. when there are no huge pages.
  static Result<std::unique_ptr<SyntheticMemory>> open(const SyntheticOptions& options);
  ~SyntheticMemory();
  SyntheticMemory(const SyntheticMemory&) = delete;
  SyntheticMemory& operator=(const SyntheticMemory&) = delete;

  const GuestMemory& guest() const { return guest_; }
  const GuestMemory& agent() const { return agent_; }
  const GuestMemory& device() const { return device_; }

  // Gives the page's storage back; it reads as zeroes from then on.
  Status discard(PageLocation location) const;

 private:
  SyntheticMemory() = default;
  Status add_block(const SyntheticBlock& block, uint64_t fd_offset_bytes);

  std::vector<UniqueFd> files_;
  GuestMemory guest_;
  GuestMemory agent_;
  GuestMemory device_;
};

// The page at `location` in one of the mappings.
std::span<std::byte> page_at(const GuestMemory& memory, PageLocation location);

}  // namespace godwit
