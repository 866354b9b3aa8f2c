// SPDX-License-Identifier: Apache-2.0
//
// On which NUMA node pages are. Asked with move_pages(2) without a target, which neither moves nor
// allocates anything.
//
// The kernel answers for pages that are in the page tables of the process that is asked about.
// Shared memory that only another process has touched (guest RAM that QEMU filled) is not in ours,
// so it is asked about in the other's address space.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/result.h"

namespace godwit::numa {

struct MappedRange {
  pid_t pid;       // whose address space; 0: our own
  uint64_t start;  // an address there
  uint64_t size_bytes;
};

// Returns the node of the page at each address; kUnknownNode where there is no page, or only the
// kernel's page of zeroes. Errors: kSystem, when the process is gone or not ours to look at.
Result<std::vector<int>> find_page_nodes(pid_t pid, std::span<const uint64_t> addresses);

// Returns the node that most pages of the range are on, from a sample of at most 64 spread evenly
// over it; kUnknownNode where none of these is present. Errors: kSystem.
Result<int> find_node(const MappedRange& range);

// Returns the node that is named most often, the lower of two that are named equally often;
// kUnknownNode does not count, and is returned when nothing else is there.
int most_frequent_node(std::span<const int> nodes);

}  // namespace godwit::numa
