// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace godwit::relay {

// How much of a stream went which way, as one of its two ends counts.
struct StreamTraffic {
  uint64_t sent_bytes = 0;
  uint64_t received_bytes = 0;
  // Of those sent, known to the source only: pages put straight into the guest's memory.
  uint64_t placed_bytes = 0;
  // Known to the destination only: that its VMM asked for, and that were read from the source.
  uint64_t answered_pages = 0;
  std::string note = {};  // why not all of them
};

// The same while it is carried, for whoever watches. Thread: any.
struct StreamCounters {
  std::atomic<uint64_t> sent_bytes{0};
  std::atomic<uint64_t> received_bytes{0};
};

// Null: nobody watches.
inline void count(std::atomic<uint64_t>* counter, uint64_t bytes) {
  if (counter != nullptr) counter->fetch_add(bytes, std::memory_order_relaxed);
}
inline std::atomic<uint64_t>* sent_of(StreamCounters* counters) {
  return counters == nullptr ? nullptr : &counters->sent_bytes;
}
inline std::atomic<uint64_t>* received_of(StreamCounters* counters) {
  return counters == nullptr ? nullptr : &counters->received_bytes;
}

}  // namespace godwit::relay
