// SPDX-License-Identifier: Apache-2.0
//
// A QEMU guest's RAM: which blocks QEMU leaves out of its migration stream under x-ignore-shared,
// where they lie in QEMU, and the files behind them, mapped here as well.
//
// What QEMU leaves out (its migration/ram.c): shared blocks; from 8.1 on only those backed by a
// named file, i.e. memory-backend-file and not memory-backend-memfd.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "engine/memory/guest_memory.h"
#include "vmm-adapters/linux/process_memory_map.h"
#include "vmm-adapters/linux/shared_mapping.h"
#include "vmm-adapters/qemu/identity.h"
#include "vmm-adapters/qemu/monitor_text.h"
#include "vmm-adapters/qemu/qmp_client.h"
#include "vmm-adapters/qemu/ram_record.h"

namespace godwit::qemu {

// One memory backend, as query-memdev and QOM tell it.
struct MemoryBackend {
  std::string id;
  std::string type;  // "memory-backend-file"
  uint64_t size_bytes;
  Sharing sharing;
  int numa_node;  // -1 = anywhere
};

// Everything QEMU says about its RAM.
struct RamFacts {
  Version version;
  std::vector<MemoryBackend> backends;
  std::vector<RamBlock> blocks;
  std::vector<MappedRam> mapped;
  uint64_t guest_ram_bytes;  // base memory and plugged DIMMs
};

Result<RamFacts> query_ram(QmpClient& client, Deadline deadline);

// The RAM blocks to move outside the stream. Pure.
// Errors: kRefused when a part of the guest's RAM cannot be, saying what to change.
Result<std::vector<RamBlock>> choose_moved_blocks(const RamFacts& facts);

// Those that can be reached from outside of QEMU, wherever they move. Pure.
// Errors: kRefused when there is none, saying what to change.
Result<std::vector<RamBlock>> choose_shared_blocks(const RamFacts& facts);

enum class RamChoice : uint8_t {
  kMoved = 1,   // choose_moved_blocks()
  kShared = 2,  // choose_shared_blocks()
};

// The chosen blocks, mapped in this process.
class GuestRam {
 public:
  // `pid` is QEMU's process.
  static Result<GuestRam> open(QmpClient& client, pid_t pid, RamChoice choice, Deadline deadline);

  // Maps again what an earlier agent recorded. Neither QEMU nor its monitor has a part in it; where
  // QEMU is gone, files that have a name are still found.
  // Errors: kRefused when the memory is not there any more or is another.
  static Result<GuestRam> reopen(const RamRecord& record);

  // What reopen() takes, as text. `vmm` is QEMU.
  std::string recovery_record(const ProcessIdentity& vmm, const std::string& qmp_path) const;

  const GuestMemory& memory() const { return memory_; }
  // Where each block begins in QEMU's process.
  const std::vector<uint64_t>& addresses() const { return addresses_; }
  const std::vector<FileIdentity>& files() const { return files_; }

 private:
  Status find_block(pid_t pid, const RamBlock& block, const std::vector<MemoryMapping>& map,
                    RamRecord::Block place);
  Status reopen_block(const RamRecord::Block& block, pid_t pid,
                      const std::vector<MemoryMapping>& map);
  Status add_block(const RamRecord::Block& block, pid_t pid, UniqueFd fd);

  GuestMemory memory_;
  std::vector<uint64_t> addresses_;
  std::vector<FileIdentity> files_;
  std::vector<RamRecord::Block> record_;
  std::vector<UniqueFd> fds_;
  std::vector<SharedMapping> mappings_;
};

}  // namespace godwit::qemu
