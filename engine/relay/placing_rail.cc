// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/placing_rail.h"

#include <algorithm>

namespace godwit::relay {

Result<PlacingRail> PlacingRail::make(const Rail& rail, const AcceptedRail& there,
                                      const std::vector<BlockDescription>& blocks,
                                      const GuestMemory* guest) {
  PlacingRail made(rail, there);
  for (size_t i = 0; i < blocks.size(); ++i)
    made.blocks_.push_back({.remote = there.regions[1 + i], .guest = nullptr});
  if (guest == nullptr) return made;
  for (const GuestBlock& ours : *guest) {
    const auto theirs = std::ranges::find_if(blocks, [&](const BlockDescription& block) {
      return block.name == ours.name && block.size_bytes == ours.size_bytes();
    });
    if (theirs == blocks.end()) continue;
    // The guest may give pages back, and nobody would say so.
    ASSIGN_OR_RETURN(std::unique_ptr<MemoryRegion> region,
                     rail.transport->register_memory(ours.memory, RemoteAccess::kNone,
                                                     PageStability::kReplaceable));
    made.blocks_[static_cast<size_t>(theirs - blocks.begin())].guest = region.get();
    made.regions_.push_back(std::move(region));
  }
  return made;
}

bool PlacingRail::reaches_all() const {
  return std::ranges::all_of(
      blocks_, [](const PlacingSender::Block& block) { return block.guest != nullptr; });
}

Result<std::unique_ptr<Endpoint>> PlacingRail::connect_lane(ControlChannel& control, uint32_t lane,
                                                            Deadline deadline) const {
  ASSIGN_OR_RETURN(const auto token, control.lane_token(lane));
  return rail_->transport->connect(address_, {token, lane}, deadline);
}

}  // namespace godwit::relay
