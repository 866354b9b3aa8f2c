// SPDX-License-Identifier: Apache-2.0
//
// A rail by which pages go from the guest's memory here into its memory at the other end.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/control_channel.h"
#include "engine/memory/guest_memory.h"
#include "engine/rail.h"
#include "engine/relay/placing_sender.h"
#include "engine/transport.h"
#include "engine/wire/messages.h"

namespace godwit::relay {

class PlacingRail {
 public:
  // `there` is the rail's other end, with a region for the stream and one for each of `blocks`.
  // `guest` null: its memory cannot be reached here.
  // Ownership: `rail` outlives this; `guest`, too.
  static Result<PlacingRail> make(const Rail& rail, const AcceptedRail& there,
                                  const std::vector<BlockDescription>& blocks,
                                  const GuestMemory* guest);

  // By index in `blocks`.
  const std::vector<PlacingSender::Block>& blocks() const { return blocks_; }
  // Whether all of them can be sent from memory here.
  bool reaches_all() const;

  Result<std::unique_ptr<Endpoint>> connect_lane(ControlChannel& control, uint32_t lane,
                                                 Deadline deadline) const;

 private:
  PlacingRail(const Rail& rail, const AcceptedRail& there)
      : rail_(&rail), address_(there.address) {}

  const Rail* rail_;
  std::string address_;
  std::vector<std::unique_ptr<MemoryRegion>> regions_;
  std::vector<PlacingSender::Block> blocks_;
};

}  // namespace godwit::relay
