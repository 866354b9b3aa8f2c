// SPDX-License-Identifier: Apache-2.0
//
// Pages that have become zero at the source, made zero here.
#pragma once

#include <cstdint>

#include "engine/base/result.h"
#include "engine/memory/guest_memory.h"
#include "engine/wire/lane_messages.h"

namespace godwit {

// Returns how many were not zero before. Pages that nothing was sent for stay holes where they were
// holes at the start.
// Requires: validate(zeroes, memory).
Result<uint64_t> clear_pages(const ZeroRuns& zeroes, const GuestMemory& memory,
                             const GuestPageSet& present_at_start);

}  // namespace godwit
