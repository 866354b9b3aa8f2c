// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "engine/base/time.h"
#include "engine/relay/stream_traffic.h"
#include "engine/wire/messages.h"

namespace godwit::relay {

// The lanes of a stream, for each rail of the source: one carries what goes there, one what comes
// back; by a third the destination reads pages that its VMM asks for, if the source lets it.
enum class StreamLane : uint8_t { kThere = 0, kBack = 1, kRead = 2 };
inline constexpr uint32_t kStreamDirections = 2;
constexpr uint32_t lane_number(size_t rail, StreamLane lane) {
  const auto number = static_cast<uint32_t>(rail);
  return lane == StreamLane::kRead ? kStreamDirections * static_cast<uint32_t>(kRailsMax) + number
                                   : kStreamDirections * number + static_cast<uint32_t>(lane);
}

// Lanes of page channels, by any rail.
inline constexpr uint32_t kPageLaneFirst = 3 * kRailsMax;
inline constexpr uint32_t kPageLanesMax = 16;
constexpr bool is_page_lane(uint32_t lane) {
  return lane >= kPageLaneFirst && lane < kPageLaneFirst + kPageLanesMax;
}

// What both ends of a relayed stream are told.
struct RelayOptions {
  std::string software;  // "godwit 0.1.0"
  Purpose purpose = Purpose::kRelay;
  std::string guest = {};                      // of the source: OpenStream::guest
  Clock::duration peer_timeout = seconds(10);  // after which a silent peer is lost
  StreamCounters* counters = nullptr;          // outlives the stream; null: nobody watches
};

}  // namespace godwit::relay
