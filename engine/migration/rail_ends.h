// SPDX-License-Identifier: Apache-2.0
//
// Which rail of the destination each rail of the source goes to: one of the same transport, in the
// same subnet or near the same memory where there is a choice (engine/numa/rail_placement.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/rail.h"
#include "engine/wire/messages.h"

namespace godwit {

// A rail that has no end at the destination.
inline constexpr size_t kNoRailEnd = SIZE_MAX;

// For each of `rails`, its place in `accepted`, or kNoRailEnd.
std::vector<size_t> choose_rail_ends(const std::vector<Rail>& rails,
                                     const std::vector<AcceptedRail>& accepted);

}  // namespace godwit
