// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace godwit::relay {

// How much of a stream went which way, as one of its two ends counts.
struct StreamTraffic {
  uint64_t sent_bytes = 0;
  uint64_t received_bytes = 0;
  // Of those sent, known to the source only: pages put straight into the guest's memory.
  uint64_t placed_bytes = 0;
  std::string note = {};  // why not all of them
};

}  // namespace godwit::relay
