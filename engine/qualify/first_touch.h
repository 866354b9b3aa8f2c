// SPDX-License-Identifier: Apache-2.0
//
// Memory is pinned when it is first used (RDMA), and each lane has to learn the keys of the other
// end's. So that no measurement pays for it, and to know what it costs, every piece of memory is
// used once: a page in each, so that it takes no time to speak of where nothing has to be pinned.
#pragma once

#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/migration/interruption.h"
#include "engine/qualify/bench_session.h"

namespace godwit::qualify {

// The smallest piece of memory that is pinned by itself.
inline constexpr uint64_t kPinnedBytesMin = 256 * kKiB;

// Returns how long it took, one lane after the other.
Result<Clock::duration> touch_all(std::vector<BenchLane>& lanes, const Interruption& interruption);

}  // namespace godwit::qualify
