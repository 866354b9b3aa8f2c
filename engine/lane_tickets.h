// SPDX-License-Identifier: Apache-2.0
//
// Who may come in as a lane: a ticket is good for one connection.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <set>

#include "engine/base/result.h"

namespace godwit {

// What a lane presents to prove that it belongs to the session: a one-time token that both agents
// derived from the control connection (ControlChannel::lane_token) and the lane's number. Fits the
// private data of an RDMA connection request.
struct LaneTicket {
  std::array<std::byte, 32> token;
  uint32_t lane;
};

// Thread: any.
class LaneTickets {
 public:
  // The token of a lane (ControlChannel::lane_token). Thread: any.
  using TokenOf = std::function<Result<std::array<std::byte, 32>>(uint32_t lane)>;
  explicit LaneTickets(TokenOf token_of) : token_of_(std::move(token_of)) {}

  // Whether `shown` is right and was not used before; it is used now. The time that this takes does
  // not depend on where two tokens differ.
  bool redeem(const LaneTicket& shown);

  // The lane of this number is not to come in any more. Returns whether it could have.
  bool use_up(uint32_t lane);

  // It was redeemed, but its connection failed: the same lane may come again.
  void give_back(uint32_t lane);

 private:
  const TokenOf token_of_;
  std::mutex mutex_;
  std::set<uint32_t> used_;
};

}  // namespace godwit
