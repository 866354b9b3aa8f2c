// SPDX-License-Identifier: Apache-2.0
//
// Asks the kernel to take memory from one NUMA node. As a preference, not as a law: on a node that
// is full, a strict binding ends in the out-of-memory killer, or for huge pages in SIGBUS, and a
// guest on slower memory is better than no guest.
#pragma once

#include <cstddef>
#include <span>

#include "engine/base/result.h"

namespace godwit::numa {

// From now on pages of `memory` are allocated on `node`, as long as it has any; pages that are
// there already stay where they are. kUnknownNode: nothing is asked for. Of a shared mapping of
// memfd, tmpfs or hugetlbfs it holds for the file, so also for what other processes touch first.
//
// Requires: `memory` starts on a page of its mapping. Errors: kSystem, when there is no such node.
Status prefer_node(std::span<std::byte> memory, int node);

}  // namespace godwit::numa
