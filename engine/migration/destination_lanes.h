// SPDX-License-Identifier: Apache-2.0
//
// The far ends of the lanes. Pages arrive by themselves (one-sided writes); what these threads do
// is drive the endpoints that need it, and clear the pages that are zero at the source.
//
// A page that is zero, or a hole, at the source has to *become* zero here: a waiting VMM has
// already written firmware and tables into its memory.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "engine/memory/guest_memory.h"
#include "engine/migration/interruption.h"
#include "engine/transport.h"
#include "engine/wire/lane_messages.h"

namespace godwit {

// Thread: one.
class DestinationLanes {
 public:
  // `present_at_start`: pages that were not holes before the first byte arrived. A failed lane is
  // raised in `interruption`. Everything referred to outlives this.
  DestinationLanes(const GuestMemory& memory, const GuestPageSet& present_at_start,
                   Interruption& interruption, std::vector<std::unique_ptr<Endpoint>> endpoints);
  ~DestinationLanes();
  DestinationLanes(const DestinationLanes&) = delete;
  DestinationLanes& operator=(const DestinationLanes&) = delete;

 private:
  void serve(Endpoint& endpoint, const std::stop_token& stop);
  Status handle(Endpoint& endpoint, const LaneMessage& message, uint64_t& zeroed_pages,
                uint32_t& rounds_ended);
  uint64_t clear(const ZeroRuns& zeroes, uint32_t rounds_ended);

  const GuestMemory& memory_;
  const GuestPageSet& present_at_start_;
  Interruption& interruption_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  Interruption::Hook wake_;
  std::vector<std::jthread> threads_;
};

}  // namespace godwit
