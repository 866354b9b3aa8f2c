// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/lane_connector.h"

#include <algorithm>

namespace godwit {
namespace {

// A rail that works is connected within milliseconds; one that is tried again may be dead.
constexpr Clock::duration kConnectMax = seconds(2);

}  // namespace

LaneConnector::LaneConnector(const Parts& parts, std::vector<JoinedRail> rails,
                             Clock::duration peer_timeout)
    : parts_(parts), rails_(std::move(rails)), peer_timeout_(peer_timeout) {}

Result<precopy::OpenedLane> LaneConnector::open(size_t rail) {
  const JoinedRail& joined = rails_[rail];
  const uint32_t number = next_number_++;
  ASSIGN_OR_RETURN(const auto token, parts_.channel.lane_token(number));
  Result<std::unique_ptr<Endpoint>> endpoint = joined.transport->connect(
      joined.address, {token, number}, deadline_in(std::min(kConnectMax, peer_timeout_)));
  if (!endpoint) {
    // No answer is waited for: nothing was written on it.
    RETURN_IF_ERROR(parts_.link.send(CloseLane{number}));
    return fail(endpoint.error().code, "no lane to {}: {}", joined.address,
                to_string(endpoint.error()));
  }
  return precopy::OpenedLane{number, std::move(*endpoint)};
}

Result<std::string> LaneConnector::close(uint32_t number) {
  if (!parts_.closed.contains(number)) RETURN_IF_ERROR(parts_.link.send(CloseLane{number}));
  const auto reason = parts_.closed.wait_for(number, deadline_in(peer_timeout_));
  if (reason) return *reason;
  RETURN_IF_ERROR(parts_.interruption.check());
  return fail(Errc::kPeerLost, "the destination did not close a lost lane within {:.0f} s",
              to_seconds(peer_timeout_));
}

}  // namespace godwit
