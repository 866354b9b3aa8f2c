// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/synthetic/synthetic_memory.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>

#include <bit>
#include <cerrno>

namespace godwit {

Result<std::unique_ptr<SyntheticMemory>> SyntheticMemory::open(const SyntheticOptions& options) {
  std::unique_ptr<SyntheticMemory> memory(new SyntheticMemory);
  for (size_t index = 0; index < options.blocks.size(); ++index) {
    // A block need not begin where its file does; every second one of ours does not.
    const uint64_t offset_bytes = index % 2 == 0 ? 0 : options.blocks[index].page_size_bytes;
    RETURN_IF_ERROR(memory->add_block(options.blocks[index], offset_bytes));
  }
  return memory;
}

SyntheticMemory::~SyntheticMemory() {
  for (const GuestMemory* mapping : {&guest_, &agent_, &device_})
    for (const GuestBlock& block : *mapping) ::munmap(block.memory.data(), block.memory.size());
}

Status SyntheticMemory::add_block(const SyntheticBlock& block, uint64_t fd_offset_bytes) {
  unsigned flags = MFD_CLOEXEC;
  if (block.page_size_bytes != kBasePageBytes) {
    const auto page_size_log2 = static_cast<unsigned>(std::countr_zero(block.page_size_bytes));
    flags |= MFD_HUGETLB | (page_size_log2 << MFD_HUGE_SHIFT);
  }
  UniqueFd file(::memfd_create(block.name.c_str(), flags));
  if (!file.valid()) return fail_errno(errno, "memfd for RAM block '{}'", block.name);
  if (::ftruncate(file.get(), static_cast<off_t>(fd_offset_bytes + block.size_bytes)) != 0)
    return fail_errno(errno, "size the memfd of RAM block '{}'", block.name);

  for (GuestMemory* mapping : {&guest_, &agent_, &device_}) {
    void* start = ::mmap(nullptr, block.size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(),
                         static_cast<off_t>(fd_offset_bytes));
    if (start == MAP_FAILED) {
      return fail_errno(errno, "map RAM block '{}' of {} bytes with pages of {} bytes", block.name,
                        block.size_bytes, block.page_size_bytes);
    }
    mapping->push_back({.name = block.name,
                        .page_size_bytes = block.page_size_bytes,
                        .numa_node = block.numa_node,
                        .memory = {static_cast<std::byte*>(start), block.size_bytes},
                        .fd = file.get(),
                        .fd_offset_bytes = fd_offset_bytes});
  }
  agent_.back().owner = ::getpid();
  agent_.back().owner_address = reinterpret_cast<uint64_t>(guest_.back().memory.data());
  files_.push_back(std::move(file));
  return {};
}

Status SyntheticMemory::discard(PageLocation location) const {
  const GuestBlock& block = guest_[location.block];
  const uint64_t offset_bytes = block.fd_offset_bytes + location.page * block.page_size_bytes;
  if (::fallocate(block.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(offset_bytes),
                  static_cast<off_t>(block.page_size_bytes)) != 0) {
    return fail_errno(errno, "discard page {} of RAM block '{}'", location.page, block.name);
  }
  return {};
}

std::span<std::byte> page_at(const GuestMemory& memory, PageLocation location) {
  const GuestBlock& block = memory[location.block];
  return block.memory.subspan(location.page * block.page_size_bytes, block.page_size_bytes);
}

}  // namespace godwit
