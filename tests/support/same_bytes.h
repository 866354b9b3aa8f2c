// SPDX-License-Identifier: Apache-2.0
//
// Comparing memory at once: of std::equal() the thread sanitizer looks at each byte by itself,
// which takes longer than most of what is tested.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace godwit::test {

inline bool same_bytes(std::span<const std::byte> first, std::span<const std::byte> second) {
  return first.size() == second.size() &&
         (first.empty() || std::memcmp(first.data(), second.data(), first.size()) == 0);
}

// Each byte is the one before it, and the first is this one.
inline bool all_bytes_are(std::span<const std::byte> bytes, std::byte value) {
  return bytes.empty() || (bytes.front() == value &&
                           same_bytes(bytes.first(bytes.size() - 1), bytes.last(bytes.size() - 1)));
}

}  // namespace godwit::test
