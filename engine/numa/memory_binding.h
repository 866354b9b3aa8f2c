// SPDX-License-Identifier: Apache-2.0
//
// Puts memory that has no pages yet on one NUMA node.
#pragma once

#include <cstddef>
#include <span>

#include "engine/base/result.h"

namespace godwit::numa {

// Pages of this mapping come from that node alone. Requires: page aligned, none touched so far.
// Errors: kRefused when there is no such node with memory.
Status bind_memory(std::span<std::byte> memory, int node);

}  // namespace godwit::numa
