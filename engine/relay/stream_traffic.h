// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace godwit::relay {

// How much of a stream went which way, as one of its two ends counts.
struct StreamTraffic {
  uint64_t sent_bytes = 0;
  uint64_t received_bytes = 0;
};

}  // namespace godwit::relay
