// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/bench_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/base/units.h"
#include "engine/numa/memory_binding.h"

namespace godwit::qualify {

Result<BenchMemory> BenchMemory::make(uint64_t size_bytes, int node) {
  BenchMemory memory;
  memory.node_ = node;
  memory.file_ = UniqueFd(::memfd_create("godwit-bench", MFD_CLOEXEC));
  if (!memory.file_.valid() || ::ftruncate(memory.file_.get(), static_cast<off_t>(size_bytes)) != 0)
    return fail_errno(errno, "make a file of {} MiB to measure with", size_bytes / kMiB);
  void* start =
      ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.file_.get(), 0);
  if (start == MAP_FAILED)
    return fail_errno(errno, "map {} MiB to measure with", size_bytes / kMiB);
  memory.bytes_ = {static_cast<std::byte*>(start), size_bytes};
  if (node != kAnyNode) RETURN_IF_ERROR(numa::bind_memory(memory.bytes_, node));
  // First the pages, since a write without storage behind it would be a SIGBUS.
  if (::madvise(start, size_bytes, MADV_POPULATE_WRITE) != 0)
    return fail_errno(errno, "fill {} MiB to measure with", size_bytes / kMiB);
  std::memset(start, 0x5a, size_bytes);
  return memory;
}

BenchMemory::BenchMemory(BenchMemory&& other) noexcept
    : file_(std::move(other.file_)), bytes_(std::exchange(other.bytes_, {})), node_(other.node_) {}

BenchMemory& BenchMemory::operator=(BenchMemory&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(bytes_, other.bytes_);
  std::swap(node_, other.node_);
  return *this;
}

BenchMemory::~BenchMemory() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

GuestBlock BenchMemory::as_block(const std::string& name) const {
  return {.name = name,
          .page_size_bytes = kBasePageBytes,
          .numa_node = node_,
          .memory = bytes_,
          .fd = file_.get(),
          .fd_offset_bytes = 0};
}

}  // namespace godwit::qualify
