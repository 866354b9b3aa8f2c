// SPDX-License-Identifier: Apache-2.0
//
// SplitMix64 (Steele, Lea and Flood): a generator whose whole state is one word, so that it travels
// in the device state and goes on at the destination where it was.
#pragma once

#include <cstdint>

namespace godwit {

class SplitMix {
 public:
  explicit SplitMix(uint64_t state) : state_(state) {}

  uint64_t next() {
    uint64_t mixed = (state_ += 0x9e3779b97f4a7c15);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
  }

  // Requires: limit > 0. The bias does not matter here.
  uint64_t below(uint64_t limit) { return next() % limit; }

  uint64_t state() const { return state_; }

 private:
  uint64_t state_;
};

}  // namespace godwit
