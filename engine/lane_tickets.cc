// SPDX-License-Identifier: Apache-2.0
#include "engine/lane_tickets.h"

namespace godwit {

bool LaneTickets::redeem(const LaneTicket& shown) {
  const Result<std::array<std::byte, 32>> token = token_of_(shown.lane);
  if (!token) return false;
  // Always compared in full.
  std::byte difference{0};
  for (size_t i = 0; i < shown.token.size(); ++i) difference |= shown.token[i] ^ (*token)[i];
  return difference == std::byte{0} && use_up(shown.lane);
}

bool LaneTickets::use_up(uint32_t lane) {
  std::lock_guard lock(mutex_);
  return used_.insert(lane).second;
}

void LaneTickets::give_back(uint32_t lane) {
  std::lock_guard lock(mutex_);
  used_.erase(lane);
}

}  // namespace godwit
