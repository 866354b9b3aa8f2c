// SPDX-License-Identifier: Apache-2.0
//
// The end-to-end proof: XXH3 of every 2 MiB of guest memory, made at both ends while the guest is
// paused, and compared. Holes count as zeroes and are not touched.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "engine/memory/guest_memory.h"

namespace godwit {

inline constexpr uint64_t kVerifyChunkBytes = 2 * kMiB;

uint64_t verify_chunk_count(const GuestBlock& block);

// Hashes chunks [first, first + count) of a block. `present` as find_present_pages() gives it.
std::vector<uint64_t> hash_chunks(const GuestBlock& block, const PageBitmap& present,
                                  uint64_t first_chunk, uint64_t chunk_count);

}  // namespace godwit
