// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "engine/base/time.h"
#include "engine/relay/stream_traffic.h"
#include "engine/wire/messages.h"

namespace godwit::relay {

// The lanes of a stream, two for each rail of the source: one carries what goes there, one what
// comes back.
enum class StreamDirection : uint8_t { kThere = 0, kBack = 1 };
constexpr uint32_t lane_number(size_t rail, StreamDirection direction) {
  return static_cast<uint32_t>(2 * rail) + static_cast<uint32_t>(direction);
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
