// SPDX-License-Identifier: Apache-2.0
//
// Guest RAM as the agent sees it: blocks of memory shared with the VMM, mapped here. A block is
// what QEMU calls a RAM block and a backend object: the unit of naming and of page size.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/page_bitmap.h"

namespace godwit {

struct GuestBlock {
  std::string name;             // the VMM's name for it, the same on both hosts
  uint64_t page_size_bytes;     // of the backing: 4 KiB, 2 MiB or 1 GiB; the unit of dirtiness
  int numa_node;                // where the layout asks it to be; -1 = anywhere
  std::span<std::byte> memory;  // mapped in this process, shared with the VMM; owned by the adapter
  int fd;                       // the file behind it, for SEEK_HOLE; -1 when there is none
  uint64_t fd_offset_bytes;     // where the block starts in that file
  // Where the VMM has it, whose page tables know what is where; address 0 = not known.
  pid_t owner = 0;
  uint64_t owner_address = 0;

  uint64_t size_bytes() const { return memory.size(); }
  uint64_t page_count() const { return memory.size() / page_size_bytes; }
};

using GuestMemory = std::vector<GuestBlock>;

uint64_t total_bytes(const GuestMemory& memory);

// A set of pages of a whole guest: one bitmap per block, in the order of GuestMemory.
using GuestPageSet = std::vector<PageBitmap>;

GuestPageSet empty_page_set(const GuestMemory& memory);
uint64_t count_pages(const GuestPageSet& pages);
uint64_t count_bytes(const GuestMemory& memory, const GuestPageSet& pages);
void unite(GuestPageSet& pages, const GuestPageSet& other);
void subtract(GuestPageSet& pages, const GuestPageSet& other);
void intersect(GuestPageSet& pages, const GuestPageSet& other);
void clear(GuestPageSet& pages);

// Sets exactly the bits of pages that have storage behind them (lseek SEEK_DATA/SEEK_HOLE), i.e.
// those that are not holes. A block without a file counts as present throughout. Looking does not
// allocate: a load through a mapping would.
Status find_present_pages(const GuestBlock& block, PageBitmap& present);

}  // namespace godwit
