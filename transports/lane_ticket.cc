// SPDX-License-Identifier: Apache-2.0
#include "transports/lane_ticket.h"

#include <openssl/crypto.h>

namespace godwit {

bool same_ticket(const LaneTicket& left, const LaneTicket& right) {
  // Both are always compared in full.
  const bool same_token =
      CRYPTO_memcmp(left.token.data(), right.token.data(), left.token.size()) == 0;
  const bool same_lane = left.lane == right.lane;
  return static_cast<int>(same_token) + static_cast<int>(same_lane) == 2;
}

}  // namespace godwit
