// SPDX-License-Identifier: Apache-2.0
//
// What another process has mapped, and the file behind a mapping: how guest RAM is found and
// reached.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "vmm-adapters/linux/pagemap_scan.h"

namespace godwit {

// A file by what stays the same whatever it is called and whoever opens it.
struct FileIdentity {
  uint64_t device;  // as in stat's st_dev
  uint64_t inode;

  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

enum class Sharing : uint8_t { kPrivate = 1, kShared = 2 };
enum class Access : uint8_t { kReadOnly = 1, kWritable = 2 };

// One line of /proc/PID/maps.
struct MemoryMapping {
  AddressRange range;
  Sharing sharing;
  Access access;
  uint64_t file_offset;
  FileIdentity file;  // inode 0: no file
  std::string path;
};

// Returns the mapping that a line of /proc/PID/maps describes. Errors: kCorrupt.
Result<MemoryMapping> parse_mapping(std::string_view line);

// Returns all mappings of the process, by rising address.
Result<std::vector<MemoryMapping>> read_memory_map(pid_t pid);

// Returns the mapping that holds the address, or nullptr.
const MemoryMapping* find_mapping(const std::vector<MemoryMapping>& map, uint64_t address);

// Opens the file behind a mapping of the process for reading and writing, through the process's own
// descriptor table, so that files without a name (memfd) or already unlinked are found as well.
Result<UniqueFd> open_mapped_file(pid_t pid, const MemoryMapping& mapping);

Result<FileIdentity> identity_of(int fd);

// A process that can write a file by a shared mapping of its own.
struct ForeignMapper {
  pid_t pid;
  std::string name;
  FileIdentity file;
};

struct ForeignMappers {
  std::vector<ForeignMapper> found;
  uint64_t unreadable_processes;  // whose maps we may not see
};

// Searches all processes but ourselves and `owner` for writable shared mappings of the files:
// writers (vhost-user back ends, another agent) whose writes no tracking of `owner` can see.
Result<ForeignMappers> find_foreign_mappers(pid_t owner, const std::vector<FileIdentity>& files);

}  // namespace godwit
