// SPDX-License-Identifier: Apache-2.0
//
// Where a guest's RAM is: in which process, at which addresses, in which files. Kept as text on
// disk by an agent, so that another one can map it again after its death without asking QEMU, whose
// main thread may be waiting for a page that only an agent can bring.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/session/process_identity.h"
#include "vmm-adapters/linux/process_memory_map.h"

namespace godwit::qemu {

struct RamRecord {
  struct Block {
    std::string name;
    uint64_t size_bytes = 0;
    uint64_t page_size_bytes = 0;
    int numa_node = -1;
    uint64_t owner_address = 0;  // in QEMU
    FileIdentity file{};
    uint64_t file_offset_bytes = 0;
    // As QEMU's memory map calls the file: of use only where it has a name and QEMU is gone.
    std::string path;

    friend bool operator==(const Block&, const Block&) = default;
  };

  ProcessIdentity vmm;
  std::string qmp_path;
  std::vector<Block> blocks;
};

// One line of JSON.
std::string encode_ram_record(const RamRecord& record);

// Errors: kCorrupt for anything that encode_ram_record() does not write.
Result<RamRecord> parse_ram_record(std::string_view text);

}  // namespace godwit::qemu
