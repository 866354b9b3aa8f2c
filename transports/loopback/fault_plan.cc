// SPDX-License-Identifier: Apache-2.0
#include "transports/loopback/fault_plan.h"

namespace godwit {
namespace {

// What a draw is for, so that decisions do not depend on each other.
enum Purpose : uint64_t {
  kDelay = 1,
  kDelayLength = 2,
  kTorn = 3,
  kTornPages = 4,
  kShortPost = 5,
  kShortPostLength = 6,
  kSlowFlush = 7,
};

// SplitMix64's finaliser: every bit of the input changes about half of the output.
uint64_t mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

}  // namespace

uint64_t FaultDecisions::draw(uint64_t purpose, uint64_t index) const {
  return mix(mix(mix(plan_.seed) ^ lane_ ^ (purpose << 32)) ^ index);
}

bool FaultDecisions::happens(uint64_t purpose, uint64_t index, uint32_t per_mille) const {
  return draw(purpose, index) % 1000 < per_mille;
}

uint32_t FaultDecisions::delay_steps(uint64_t operation) const {
  if (plan_.delay_steps_max == 0 || !happens(kDelay, operation, plan_.delayed_per_mille)) return 0;
  return 1 + static_cast<uint32_t>(draw(kDelayLength, operation) % plan_.delay_steps_max);
}

uint64_t FaultDecisions::torn_pages(uint64_t operation, uint32_t page_count) const {
  if (!happens(kTorn, operation, plan_.torn_per_mille)) return 0;
  // At least one page, at most all.
  const uint64_t random = draw(kTornPages, operation);
  const uint64_t pages = random | (uint64_t{1} << (random % page_count));
  return page_count == 64 ? pages : pages & ((uint64_t{1} << page_count) - 1);
}

uint64_t FaultDecisions::accepted(uint64_t post, uint64_t offered) const {
  if (!happens(kShortPost, post, plan_.short_post_per_mille)) return offered;
  return draw(kShortPostLength, post) % (offered + 1);
}

bool FaultDecisions::flush_is_slow(uint64_t flush) const {
  return happens(kSlowFlush, flush, plan_.slow_flush_per_mille);
}

bool FaultDecisions::disconnects_at_operation(uint64_t operation) const {
  return plan_.disconnect_at_operation == operation && may_disconnect();
}

bool FaultDecisions::disconnects_at_message(uint64_t message) const {
  return plan_.disconnect_at_message == message && may_disconnect();
}

bool FaultDecisions::may_disconnect() const {
  return plan_.disconnect_only_lane.value_or(lane_) == lane_ &&
         lane_ < plan_.disconnect_lanes_below.value_or(lane_ + 1);
}

}  // namespace godwit
