// SPDX-License-Identifier: Apache-2.0
//
// Sizes by name.
#pragma once

#include <cstddef>
#include <cstdint>

namespace godwit {

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;

// The smallest unit of guest memory that is tracked, checked for zero and checksummed. Memory
// backed by huge pages is tracked in its own page size (GuestBlock::page_size_bytes).
inline constexpr uint64_t kBasePageBytes = 4 * kKiB;

constexpr uint64_t round_up(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace godwit
