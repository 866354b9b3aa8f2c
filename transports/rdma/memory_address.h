// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace godwit {

// SAFETY: only as a number, which is how verbs names memory.
inline uint64_t address_of(std::span<const std::byte> bytes) {
  return reinterpret_cast<uint64_t>(bytes.data());
}

}  // namespace godwit
