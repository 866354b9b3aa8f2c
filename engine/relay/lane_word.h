// SPDX-License-Identifier: Apache-2.0
//
// What the two ends of a direction say to each other on its lane: where they are, in bytes since
// the start.
#pragma once

#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/transport.h"
#include "engine/wire/lane_messages.h"

namespace godwit::relay {

// How long to wait at a time; the end wakes whoever waits.
inline constexpr Clock::duration kLanePatience = seconds(5);

// Returns when the word is on its way. After a time-out it is said again, and may arrive twice,
// which is the same as once: it names a total. `buffer` is used again from word to word.
Status say(Endpoint& endpoint, const LaneMessage& word, std::vector<std::byte>& buffer);

}  // namespace godwit::relay
