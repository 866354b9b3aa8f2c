// SPDX-License-Identifier: Apache-2.0
#include "engine/postcopy/stall_times.h"

namespace godwit::postcopy {

std::vector<nanoseconds> StallTimes::vcpus() const {
  std::vector<nanoseconds> times;
  for (size_t vcpu = 0; vcpu < kVcpusMax; ++vcpu) {
    const nanoseconds time(vcpus_[vcpu].load(std::memory_order_relaxed));
    if (time == nanoseconds::zero()) continue;
    times.resize(vcpu + 1);
    times[vcpu] = time;
  }
  return times;
}

}  // namespace godwit::postcopy
