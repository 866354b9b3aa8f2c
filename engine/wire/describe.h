// SPDX-License-Identifier: Apache-2.0
//
// What messages say of our memory and our rails.
#pragma once

#include <vector>

#include "engine/memory/guest_memory.h"
#include "engine/rail.h"
#include "engine/transport.h"
#include "engine/wire/messages.h"

namespace godwit {

inline std::vector<BlockDescription> describe(const GuestMemory& memory) {
  std::vector<BlockDescription> blocks;
  for (const GuestBlock& block : memory) {
    blocks.push_back({.name = block.name,
                      .size_bytes = block.size_bytes(),
                      .page_size_bytes = block.page_size_bytes,
                      .numa_node = block.numa_node});
  }
  return blocks;
}

inline std::vector<OfferedRail> describe(const std::vector<Rail>& rails) {
  std::vector<OfferedRail> offered;
  for (const Rail& rail : rails) {
    offered.push_back({.name = rail.name,
                       .transport = rail.transport->capabilities().name,
                       .numa_node = rail.numa_node});
  }
  return offered;
}

}  // namespace godwit
