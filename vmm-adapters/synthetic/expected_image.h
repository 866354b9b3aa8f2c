// SPDX-License-Identifier: Apache-2.0
//
// The judges of a migrated guest: what its memory must hold, computed from nothing but its options
// and how far its actors have come; and comparisons that take a hole for zeroes and never allocate
// one by looking.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/guest_memory.h"
#include "vmm-adapters/synthetic/synthetic_machine.h"

namespace godwit {

// The content of each block.
using GuestImage = std::vector<std::vector<std::byte>>;

// Replays the guest from its beginning to `state`. Errors: kCorrupt when no guest with these
// options can come to that state.
Result<GuestImage> expected_image(const SyntheticOptions& options, const MachineState& state);

struct MemoryDifference {
  std::string block;
  uint64_t page;  // of 4 KiB
};
std::string to_string(const MemoryDifference& difference);

// Requires: nobody writes the memory meanwhile.
Result<std::optional<MemoryDifference>> first_difference(const GuestMemory& source,
                                                         const GuestMemory& destination);
Result<std::optional<MemoryDifference>> first_difference(const GuestImage& image,
                                                         const GuestMemory& memory);

// The memory as it is now. Requires and Errors as above.
Result<GuestImage> copy_image(const GuestMemory& memory);

}  // namespace godwit
