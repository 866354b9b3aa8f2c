// SPDX-License-Identifier: Apache-2.0
//
// For how long each vCPU, and all other threads of the VMM together, waited for missing pages.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/base/time.h"
#include "engine/page_faults.h"

namespace godwit::postcopy {

// Thread: any; one relaxed addition.
class StallTimes {
 public:
  // A vCPU beyond kVcpusMax counts among the others.
  void add(int32_t vcpu, nanoseconds time) {
    const bool known = vcpu >= 0 && static_cast<size_t>(vcpu) < kVcpusMax;
    auto& total = known ? vcpus_[static_cast<size_t>(vcpu)] : others_;
    total.fetch_add(static_cast<uint64_t>(time.count()), std::memory_order_relaxed);
  }

  // By number, up to the last one that waited at all.
  std::vector<nanoseconds> vcpus() const;
  nanoseconds others() const { return nanoseconds(others_.load(std::memory_order_relaxed)); }

 private:
  static constexpr size_t kVcpusMax = 4096;

  std::array<std::atomic<uint64_t>, kVcpusMax> vcpus_{};
  std::atomic<uint64_t> others_{0};
};

}  // namespace godwit::postcopy
