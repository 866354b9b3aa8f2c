// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/process_memory_map.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <functional>
#include <memory>

#include "vmm-adapters/linux/numbered_entries.h"

namespace godwit {
namespace {

// Takes the number at the head of `text` and the separator behind it.
bool take_number(std::string_view& text, int base, char separator, uint64_t& value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end == text.data() + text.size() || *end != separator) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()) + 1);
  return true;
}

std::string process_name(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/comm", pid));
  std::string name;
  std::getline(file, name);
  return name;
}

}  // namespace

Result<MemoryMapping> parse_mapping(std::string_view line) {
  // start-end perms offset major:minor inode [path]
  MemoryMapping mapping{};
  std::string_view rest = line;
  uint64_t major = 0;
  uint64_t minor = 0;
  bool good = take_number(rest, 16, '-', mapping.range.start) &&
              take_number(rest, 16, ' ', mapping.range.end) && rest.size() > 5;
  if (good) {
    mapping.access = rest[1] == 'w' ? Access::kWritable : Access::kReadOnly;
    mapping.sharing = rest[3] == 's' ? Sharing::kShared : Sharing::kPrivate;
    rest.remove_prefix(5);
    good = take_number(rest, 16, ' ', mapping.file_offset) && take_number(rest, 16, ':', major) &&
           take_number(rest, 16, ' ', minor);
  }
  if (good) {
    auto [end, error] =
        std::from_chars(rest.data(), rest.data() + rest.size(), mapping.file.inode, 10);
    good = error == std::errc() && mapping.range.start < mapping.range.end;
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
  }
  if (!good) return fail(Errc::kCorrupt, "unexpected line in a memory map: '{}'", line);
  mapping.file.device = makedev(static_cast<unsigned>(major), static_cast<unsigned>(minor));
  if (size_t start = rest.find_first_not_of(' '); start != std::string_view::npos) {
    mapping.path = rest.substr(start);
  }
  return mapping;
}

Result<std::vector<MemoryMapping>> read_memory_map(pid_t pid) {
  std::string path = fmt::format("/proc/{}/maps", pid);
  std::ifstream file(path);
  if (!file) return fail_errno(errno, "open {}", path);
  std::vector<MemoryMapping> map;
  for (std::string line; std::getline(file, line);) {
    ASSIGN_OR_RETURN(MemoryMapping mapping, parse_mapping(line));
    map.push_back(std::move(mapping));
  }
  return map;
}

const MemoryMapping* find_mapping(const std::vector<MemoryMapping>& map, uint64_t address) {
  auto after = std::upper_bound(
      map.begin(), map.end(), address,
      [](uint64_t value, const MemoryMapping& mapping) { return value < mapping.range.end; });
  if (after == map.end() || address < after->range.start) return nullptr;
  return &*after;
}

Result<FileIdentity> identity_of(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return fail_errno(errno, "fstat of descriptor {}", fd);
  return FileIdentity{status.st_dev, status.st_ino};
}

Result<UniqueFd> open_mapped_file(pid_t pid, const MemoryMapping& mapping) {
  std::string folder = fmt::format("/proc/{}/fd", pid);
  std::string found;
  RETURN_IF_ERROR(for_each_number(folder, [&](pid_t number) {
    std::string path = fmt::format("{}/{}", folder, number);
    struct stat status {};
    if (!found.empty() || stat(path.c_str(), &status) != 0) return;
    if (FileIdentity{status.st_dev, status.st_ino} == mapping.file) found = path;
  }));
  if (found.empty()) {
    // A process may map a file and close its descriptor.
    found =
        fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, mapping.range.start, mapping.range.end);
  }
  UniqueFd fd(open(found.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return fail_errno(errno, "open {} ({}) for writing", found, mapping.path);
  ASSIGN_OR_RETURN(FileIdentity identity, identity_of(fd.get()));
  if (identity != mapping.file) {
    return fail(Errc::kSystem, "{} is not the file mapped at {:#x}", found, mapping.range.start);
  }
  return fd;
}

Result<ForeignMappers> find_foreign_mappers(pid_t owner, const std::vector<FileIdentity>& files) {
  ForeignMappers mappers{};
  RETURN_IF_ERROR(for_each_number("/proc", [&](pid_t pid) {
    if (pid == owner || pid == getpid()) return;
    Result<std::vector<MemoryMapping>> map = read_memory_map(pid);
    if (!map) {
      bool gone = map.error().os_errno == ENOENT || map.error().os_errno == ESRCH;
      if (!gone) mappers.unreadable_processes++;
      return;
    }
    for (const FileIdentity& file : files) {
      auto writes = [&](const MemoryMapping& mapping) {
        return mapping.file == file && mapping.sharing == Sharing::kShared &&
               mapping.access == Access::kWritable;
      };
      if (std::any_of(map->begin(), map->end(), writes)) {
        mappers.found.push_back({pid, process_name(pid), file});
      }
    }
  }));
  return mappers;
}

}  // namespace godwit
