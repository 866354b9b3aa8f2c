// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/guest_ram.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "engine/base/units.h"

namespace godwit::qemu {
namespace {

// Private blocks below this travel in QEMU's stream while the guest is paused: ROMs, video memory.
constexpr uint64_t kPrivateBlockBytesMax = 64 * kMiB;

constexpr const char* kFileAdvice =
    "give QEMU -object memory-backend-file,share=on with mem-path on tmpfs (/dev/shm) or hugetlbfs";

// A block's name is its backend's id, or, for machine types up to 3.1, the backend's QOM path.
bool names_backend(const std::string& block, const std::string& backend_id) {
  return block == backend_id || block == "/objects/" + backend_id;
}

const MemoryBackend* backend_of(const RamFacts& facts, const std::string& block) {
  auto found = std::find_if(facts.backends.begin(), facts.backends.end(),
                            [&](const auto& backend) { return names_backend(block, backend.id); });
  return found == facts.backends.end() ? nullptr : &*found;
}

// A region of the memory tree is called by the backend's id alone.
const MappedRam* mapped_part_of(const RamFacts& facts, const std::string& block) {
  auto found = std::find_if(facts.mapped.begin(), facts.mapped.end(),
                            [&](const auto& mapped) { return names_backend(block, mapped.block); });
  return found == facts.mapped.end() ? nullptr : &*found;
}

Status check_backend(const RamFacts& facts, const MemoryBackend& backend) {
  if (backend.sharing != Sharing::kShared) {
    return fail(Errc::kRefused, "guest RAM '{}' ({}) is not shared (share=off): {}", backend.id,
                backend.type, kFileAdvice);
  }
  bool named_files_only = facts.version >= Version{8, 1, 0};
  bool left_out = backend.type == "memory-backend-file" || !named_files_only;
  if (!left_out) {
    return fail(Errc::kRefused,
                "guest RAM '{}' is a {}, which QEMU {}.{} sends in its own stream: {}", backend.id,
                backend.type, facts.version.major, facts.version.minor, kFileAdvice);
  }
  return {};
}

Result<std::string> backend_type(QmpClient& client, const std::string& id, Deadline deadline) {
  ASSIGN_OR_RETURN(
      Json type,
      client.execute("qom-get", {{"path", "/objects/" + id}, {"property", "type"}}, deadline));
  return type.is_string() ? type.get<std::string>() : "";
}

Result<std::vector<MemoryBackend>> query_backends(QmpClient& client, Deadline deadline) {
  ASSIGN_OR_RETURN(Json answer, client.execute("query-memdev", {}, deadline));
  std::vector<MemoryBackend> backends;
  for (const Json& device : answer) {
    MemoryBackend backend{};
    backend.id = string_or(device, "id", "");
    if (backend.id.empty()) continue;
    Result<std::string> type = backend_type(client, backend.id, deadline);
    backend.type = type ? *type : "memory backend without an object";
    backend.size_bytes = static_cast<uint64_t>(integer_or(device, "size", 0));
    backend.sharing = is_true(device, "share") ? Sharing::kShared : Sharing::kPrivate;
    const Json& nodes = field(device, "host-nodes");
    backend.numa_node = nodes.is_array() && nodes.size() == 1 && nodes[0].is_number_integer()
                            ? nodes[0].get<int>()
                            : -1;
    backends.push_back(std::move(backend));
  }
  return backends;
}

Status check_file_system(int fd, const std::string& block) {
  struct statfs status {};
  if (fstatfs(fd, &status) != 0) return fail_errno(errno, "fstatfs of RAM block '{}'", block);
  if (status.f_type == TMPFS_MAGIC || status.f_type == HUGETLBFS_MAGIC) return {};
  return fail(Errc::kRefused, "RAM block '{}' is a file on a disk file system: {}", block,
              kFileAdvice);
}

}  // namespace

Result<RamFacts> query_ram(QmpClient& client, Deadline deadline) {
  RamFacts facts{};
  ASSIGN_OR_RETURN(facts.version, query_version(client, deadline));
  ASSIGN_OR_RETURN(facts.backends, query_backends(client, deadline));
  ASSIGN_OR_RETURN(std::string blocks, client.execute_human("info ramblock", deadline));
  ASSIGN_OR_RETURN(facts.blocks, parse_ram_blocks(blocks));
  ASSIGN_OR_RETURN(std::string tree, client.execute_human("info mtree -f", deadline));
  ASSIGN_OR_RETURN(facts.mapped, parse_memory_tree(tree));
  ASSIGN_OR_RETURN(Json summary, client.execute("query-memory-size-summary", {}, deadline));
  facts.guest_ram_bytes = static_cast<uint64_t>(integer_or(summary, "base-memory", 0) +
                                                integer_or(summary, "plugged-memory", 0));
  return facts;
}

Result<std::vector<RamBlock>> choose_moved_blocks(const RamFacts& facts) {
  std::vector<RamBlock> moved;
  uint64_t moved_bytes = 0;
  for (const RamBlock& block : facts.blocks) {
    if (mapped_part_of(facts, block.name) == nullptr) continue;  // not (now) the guest's memory
    const MemoryBackend* backend = backend_of(facts, block.name);
    if (backend == nullptr) {
      if (block.used_bytes <= kPrivateBlockBytesMax) continue;
      return fail(Errc::kRefused, "guest RAM '{}' ({} MiB) is QEMU's private memory: {}",
                  block.name, block.used_bytes / kMiB, kFileAdvice);
    }
    RETURN_IF_ERROR(check_backend(facts, *backend));
    moved.push_back(block);
    moved_bytes += block.used_bytes;
  }
  if (moved.empty() || moved_bytes < facts.guest_ram_bytes) {
    return fail(Errc::kRefused, "only {} of {} MiB of guest RAM are shared memory: {}",
                moved_bytes / kMiB, facts.guest_ram_bytes / kMiB, kFileAdvice);
  }
  return moved;
}

Result<std::vector<RamBlock>> choose_shared_blocks(const RamFacts& facts) {
  std::vector<RamBlock> shared;
  for (const RamBlock& block : facts.blocks) {
    const MemoryBackend* backend = backend_of(facts, block.name);
    if (mapped_part_of(facts, block.name) != nullptr && backend != nullptr &&
        backend->sharing == Sharing::kShared)
      shared.push_back(block);
  }
  if (shared.empty())
    return fail(Errc::kRefused,
                "no guest RAM is shared memory: give QEMU -object memory-backend-memfd,share=on or "
                "memory-backend-file,share=on");
  return shared;
}

Result<GuestRam> GuestRam::open(QmpClient& client, pid_t pid, RamChoice choice, Deadline deadline) {
  ASSIGN_OR_RETURN(RamFacts facts, query_ram(client, deadline));
  ASSIGN_OR_RETURN(std::vector<RamBlock> moved, choice == RamChoice::kMoved
                                                    ? choose_moved_blocks(facts)
                                                    : choose_shared_blocks(facts));
  ASSIGN_OR_RETURN(std::vector<MemoryMapping> map, read_memory_map(pid));
  GuestRam ram;
  for (const RamBlock& block : moved) {
    const MappedRam* part = mapped_part_of(facts, block.name);
    ASSIGN_OR_RETURN(
        std::string answer,
        client.execute_human(fmt::format("gpa2hva {:#x}", part->guest_address), deadline));
    ASSIGN_OR_RETURN(uint64_t address, parse_host_address(answer, part->block));
    RamRecord::Block place;
    place.numa_node = backend_of(facts, block.name)->numa_node;
    place.owner_address = address - part->block_offset;
    RETURN_IF_ERROR(ram.find_block(pid, block, map, std::move(place)));
  }
  return ram;
}

Status GuestRam::find_block(pid_t pid, const RamBlock& block, const std::vector<MemoryMapping>& map,
                            RamRecord::Block place) {
  const uint64_t address = place.owner_address;
  const MemoryMapping* mapping = find_mapping(map, address);
  bool whole = mapping != nullptr && mapping->range.end - address >= block.used_bytes &&
               mapping->file.inode != 0;
  if (!whole) {
    return fail(Errc::kRefused,
                "process {} does not map RAM block '{}' at {:#x}: is it really this QEMU? (--pid)",
                pid, block.name, address);
  }
  if (mapping->sharing != Sharing::kShared) {
    return fail(Errc::kRefused, "RAM block '{}' is mapped private by QEMU: {}", block.name,
                kFileAdvice);
  }
  ASSIGN_OR_RETURN(UniqueFd fd, open_mapped_file(pid, *mapping));
  RETURN_IF_ERROR(check_file_system(fd.get(), block.name));
  place.name = block.name;
  place.size_bytes = block.used_bytes;
  place.page_size_bytes = block.page_size_bytes;
  place.file = mapping->file;
  place.file_offset_bytes = mapping->file_offset + (address - mapping->range.start);
  place.path = mapping->path;
  return add_block(place, pid, std::move(fd));
}

std::string GuestRam::recovery_record(const ProcessIdentity& vmm,
                                      const std::string& qmp_path) const {
  // Whoever reads it may be in another folder.
  std::error_code unknown;
  const std::filesystem::path path = std::filesystem::absolute(qmp_path, unknown);
  return encode_ram_record({vmm, unknown ? qmp_path : path.string(), record_});
}

Result<GuestRam> GuestRam::reopen(const RamRecord& record) {
  std::vector<MemoryMapping> map;
  const pid_t pid = is_running(record.vmm) ? record.vmm.pid : 0;
  if (pid != 0) {
    ASSIGN_OR_RETURN(map, read_memory_map(pid));
  }
  GuestRam ram;
  for (const RamRecord::Block& block : record.blocks) {
    RETURN_IF_ERROR(ram.reopen_block(block, pid, map));
  }
  return ram;
}

Status GuestRam::reopen_block(const RamRecord::Block& block, pid_t pid,
                              const std::vector<MemoryMapping>& map) {
  UniqueFd fd;
  if (pid != 0) {
    const MemoryMapping* mapping = find_mapping(map, block.owner_address);
    bool same = mapping != nullptr && mapping->file == block.file &&
                mapping->range.end - block.owner_address >= block.size_bytes &&
                mapping->file_offset + (block.owner_address - mapping->range.start) ==
                    block.file_offset_bytes;
    if (!same) {
      return fail(Errc::kRefused, "QEMU, process {}, does not map RAM block '{}' where it did", pid,
                  block.name);
    }
    ASSIGN_OR_RETURN(fd, open_mapped_file(pid, *mapping));
  } else {
    fd.reset(::open(block.path.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd.valid()) {
      return fail(Errc::kRefused, "QEMU is gone, and the memory of RAM block '{}' with it ({}: {})",
                  block.name, block.path, describe_errno(errno));
    }
  }
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return fail_errno(errno, "fstat of {}", block.path);
  const bool whole =
      static_cast<uint64_t>(status.st_size) >= block.file_offset_bytes + block.size_bytes;
  if (FileIdentity{status.st_dev, status.st_ino} != block.file || !whole) {
    return fail(Errc::kRefused, "{} is not the file that RAM block '{}' was in", block.path,
                block.name);
  }
  return add_block(block, pid, std::move(fd));
}

Status GuestRam::add_block(const RamRecord::Block& block, pid_t pid, UniqueFd fd) {
  ASSIGN_OR_RETURN(SharedMapping alias,
                   SharedMapping::map(fd.get(), {block.file_offset_bytes, block.size_bytes}));
  // Guest memory is in no child process of ours (it would count as another writer) and no core
  // dump.
  madvise(alias.bytes().data(), alias.bytes().size(), MADV_DONTFORK);
  madvise(alias.bytes().data(), alias.bytes().size(), MADV_DONTDUMP);
  GuestBlock& added = memory_.emplace_back(GuestBlock{.name = block.name,
                                                      .page_size_bytes = block.page_size_bytes,
                                                      .numa_node = block.numa_node,
                                                      .memory = alias.bytes(),
                                                      .fd = fd.get(),
                                                      .fd_offset_bytes = block.file_offset_bytes});
  if (pid != 0) {
    added.owner = pid;
    added.owner_address = block.owner_address;
  }
  addresses_.push_back(block.owner_address);
  files_.push_back(block.file);
  record_.push_back(block);
  fds_.push_back(std::move(fd));
  mappings_.push_back(std::move(alias));
  return {};
}

}  // namespace godwit::qemu
