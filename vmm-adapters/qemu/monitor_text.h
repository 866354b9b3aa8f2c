// SPDX-License-Identifier: Apache-2.0
//
// What QEMU says only as text for humans, taken apart: `info ramblock`, `info mtree -f`, `gpa2hva`,
// `info network`. Pure functions, tested with recorded output of QEMU 7.2 and 10.0.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace godwit::qemu {

struct RamBlock {
  std::string name;
  uint64_t page_size_bytes;
  uint64_t used_bytes;
};

Result<std::vector<RamBlock>> parse_ram_blocks(std::string_view text);

// Part of a RAM block in the guest's physical memory.
struct MappedRam {
  uint64_t guest_address;
  uint64_t block_offset;
  std::string block;
};

// Returns where RAM is mapped in the guest's memory (address space "memory"), by rising address.
Result<std::vector<MappedRam>> parse_memory_tree(std::string_view text);

// Returns the host address. `block` is what QEMU has to say lies there.
Result<uint64_t> parse_host_address(std::string_view text, std::string_view block);

}  // namespace godwit::qemu
