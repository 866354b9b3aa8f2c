// SPDX-License-Identifier: Apache-2.0
//
// Messages with random content that keeps every rule, from a seed: for round trips and as the
// corpus of what a hostile peer starts to twist.
#pragma once

#include <random>

#include "engine/wire/lane_messages.h"
#include "engine/wire/messages.h"

namespace godwit {

class RandomMessages {
 public:
  explicit RandomMessages(uint64_t seed) : random_(seed) {}

  // The alternative number `index` of ControlMessage or LaneMessage.
  ControlMessage control_message(size_t index);
  LaneMessage lane_message(size_t index);

 private:
  uint64_t number() { return random_(); }
  uint64_t below(uint64_t limit) { return random_() % limit; }
  std::string text(size_t bytes_max);
  double measure() { return static_cast<double>(below(1'000'000'000)) / 1024.0; }

  template <typename Message>
  Message any();

  std::mt19937_64 random_;
};

}  // namespace godwit
