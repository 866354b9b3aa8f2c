// SPDX-License-Identifier: Apache-2.0
//
// What goes wrong on a loopback link, and when. Every decision is a pure function of the seed, the
// lane and the index of what is decided about (the n-th operation, the n-th call), never of time:
// the same seed gives the same decisions, however the threads run.
#pragma once

#include <cstdint>
#include <optional>

namespace godwit {

struct FaultPlan {
  uint64_t seed = 0;

  // Completions that come late, and so overtake each other: by up to this many looks of poll().
  uint32_t delayed_per_mille = 0;
  uint32_t delay_steps_max = 16;

  // Writes of live memory that arrive torn: some pages get other bytes, and the completion says
  // which.
  uint32_t torn_per_mille = 0;

  // Posts that accept fewer operations than they could, sometimes none.
  uint32_t short_post_per_mille = 0;

  // Flushes that let other threads run in the middle.
  uint32_t slow_flush_per_mille = 0;

  // The connection ends instead of carrying out the n-th operation (message) of an endpoint,
  // counted from 0; the operation may have arrived in part.
  std::optional<uint64_t> disconnect_at_operation;
  std::optional<uint64_t> disconnect_at_message;
  std::optional<uint32_t> disconnect_only_lane;    // without it: every lane
  std::optional<uint32_t> disconnect_lanes_below;  // those with a smaller number
};

// One endpoint's decisions. Thread: one.
class FaultDecisions {
 public:
  FaultDecisions(const FaultPlan& plan, uint32_t lane) : plan_(plan), lane_(lane) {}

  uint32_t delay_steps(uint64_t operation) const;
  uint64_t torn_pages(uint64_t operation, uint32_t page_count) const;  // bit n: page n
  uint64_t accepted(uint64_t post, uint64_t offered) const;            // <= offered
  bool flush_is_slow(uint64_t flush) const;
  bool disconnects_at_operation(uint64_t operation) const;
  bool disconnects_at_message(uint64_t message) const;

  // A number that looks random and depends on nothing but the plan, the lane and these two.
  uint64_t draw(uint64_t purpose, uint64_t index) const;

 private:
  bool may_disconnect() const;
  bool happens(uint64_t purpose, uint64_t index, uint32_t per_mille) const;

  FaultPlan plan_;
  uint32_t lane_;
};

}  // namespace godwit
