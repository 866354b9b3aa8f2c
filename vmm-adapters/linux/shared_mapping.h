// SPDX-License-Identifier: Apache-2.0
//
// A file mapped into this process, shared with whoever else maps it, and how to make its page-table
// entries beforehand without making pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "engine/base/result.h"
#include "engine/memory/guest_memory.h"

namespace godwit {

// RAII. Nothing is touched by mapping: holes of the file stay holes.
class SharedMapping {
 public:
  struct Place {
    uint64_t offset_bytes;
    uint64_t size_bytes;
  };
  static Result<SharedMapping> map(int fd, Place place);

  SharedMapping(SharedMapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  SharedMapping& operator=(SharedMapping&& other) noexcept;
  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;
  ~SharedMapping();

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  explicit SharedMapping(std::span<std::byte> bytes) : bytes_(bytes) {}

  std::span<std::byte> bytes_;
};

// Maps the pages of the block that exist into this process's page tables, so that a transfer into
// it does not pay a page fault for each. Holes stay holes.
//
// It reads one byte in 64 KiB: a read fault on shared memory maps the 16 pages around it, writable.
// Measured 0.05 s/GiB, against 0.21 s/GiB with MADV_POPULATE_WRITE.
Status map_present_pages(const GuestBlock& block);
Status map_present_pages(const GuestMemory& memory);

}  // namespace godwit
