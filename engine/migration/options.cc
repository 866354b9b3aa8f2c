// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/options.h"

#include <algorithm>
#include <thread>

namespace godwit {

uint32_t default_lane_count() {
  return std::clamp(std::thread::hardware_concurrency() / 2, 2U, 4U);
}

}  // namespace godwit
