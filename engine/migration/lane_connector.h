// SPDX-License-Identifier: Apache-2.0
//
// Opens the source's lanes and gives them up, in step with the destination: each connects with a
// token of its own, and one that is given up is closed at the other end before its pages travel by
// another.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "engine/control_channel.h"
#include "engine/migration/closed_lanes.h"
#include "engine/migration/control_link.h"
#include "engine/migration/interruption.h"
#include "engine/precopy/lane_opener.h"

namespace godwit {

// The two ends of a rail, as the source sees them.
struct JoinedRail {
  Transport* transport;
  std::string address;  // of the destination's end
};

class LaneConnector final : public precopy::LaneOpener {
 public:
  // Everything referred to outlives this.
  struct Parts {
    ControlChannel& channel;
    ControlLink& link;
    Interruption& interruption;
    ClosedLanes& closed;
  };
  LaneConnector(const Parts& parts, std::vector<JoinedRail> rails, Clock::duration peer_timeout);

  Result<precopy::OpenedLane> open(size_t rail) override;
  Result<std::string> close(uint32_t number) override;

 private:
  Parts parts_;
  const std::vector<JoinedRail> rails_;
  const Clock::duration peer_timeout_;
  std::atomic<uint32_t> next_number_{0};
};

}  // namespace godwit
