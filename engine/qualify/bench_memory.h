// SPDX-License-Identifier: Apache-2.0
//
// Memory that a bench moves bytes from and to: shared, as guest memory is, all of it resident, on a
// NUMA node where one is asked for, and full of what no transport takes for zeroes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "engine/memory/guest_memory.h"

namespace godwit::qualify {

// The node of memory that may lie anywhere.
inline constexpr int kAnyNode = -1;

class BenchMemory {
 public:
  // Errors: kRefused when there is no such node; kSystem when there is not so much memory.
  static Result<BenchMemory> make(uint64_t size_bytes, int node);
  BenchMemory(BenchMemory&& other) noexcept;
  BenchMemory& operator=(BenchMemory&& other) noexcept;
  ~BenchMemory();

  std::span<std::byte> bytes() const { return bytes_; }
  int node() const { return node_; }

  // As something that rails can be opened for (engine/migration/destination_rails.h).
  GuestBlock as_block(const std::string& name) const;

 private:
  BenchMemory() = default;

  UniqueFd file_;  // so that it can be mapped again
  std::span<std::byte> bytes_;
  int node_ = kAnyNode;
};

}  // namespace godwit::qualify
