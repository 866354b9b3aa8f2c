// SPDX-License-Identifier: Apache-2.0
#include "engine/precopy/policy.h"

#include <algorithm>

#include "engine/base/check.h"

namespace godwit::precopy {

namespace {

// Below this much transfer another round costs more (a micro-pause and a scan) than it saves.
constexpr double kTransferWorthARoundS = 0.001;
// Remaining memory that is not at least this much smaller than a round before has stopped
// shrinking.
constexpr double kShrinkingFactor = 0.7;
// What a stall aims at: this much of what remains now should remain the next time.
constexpr double kStallTarget = 0.5;
// More than this many of the longest stalls would carry is out of their reach.
constexpr double kStallsInReach = 5;

// While the rest of the round travels without a stall, the guest dirties `ratio` of it again; so
// that part may be no larger than the target.
double choose_stall(const RoundView& view, double transfer_s, const PolicyLimits& limits) {
  const double ratio = view.dirty_bytes_per_s / view.bandwidth_bytes_per_s;
  if (ratio <= kStallTarget || transfer_s > kStallsInReach * limits.stall_s_max) return 0;
  return std::min(transfer_s * (1 - kStallTarget / ratio), limits.stall_s_max);
}

// Before post-copy comes one more round, and after it about as much again.
bool sends_too_much(const RoundView& view, const PolicyLimits& limits) {
  constexpr double kRoundsToCome = 3;
  return static_cast<double>(view.sent_bytes) +
             kRoundsToCome * static_cast<double>(view.remaining_bytes) >
         limits.post_copy_sent_share_max * static_cast<double>(view.memory_bytes);
}

}  // namespace

Verdict decide(const RoundView& view, const PolicyLimits& limits) {
  CHECK(view.bandwidth_bytes_per_s > 0);
  const double transfer_s = static_cast<double>(view.remaining_bytes) / view.bandwidth_bytes_per_s;
  const double predicted_s = view.fixed_downtime_s + transfer_s;
  const bool fits = predicted_s <= limits.downtime_s_max;
  const bool next_to_nothing = transfer_s <= kTransferWorthARoundS;
  const bool stuck = static_cast<double>(view.remaining_bytes) >
                     kShrinkingFactor * static_cast<double>(view.previous_remaining_bytes);
  const uint32_t stuck_rounds = stuck ? view.stuck_rounds + 1 : 0;
  const bool last_round = view.round >= limits.rounds_max;
  const double stall_s = choose_stall(view, transfer_s, limits);
  // The first time that nothing shrinks, a stall may change that.
  const bool hopeless = stuck && (stall_s == 0 || stuck_rounds > 1);

  Verdict verdict{Decision::kNextRound, predicted_s, stuck_rounds, stall_s};
  if (fits && (next_to_nothing || hopeless || last_round)) {
    verdict.decision = Decision::kSwitchOver;
  } else if (last_round || stuck_rounds >= limits.stuck_rounds_max) {
    verdict.decision = Decision::kGiveUp;
  }
  if (limits.post_copy && verdict.decision != Decision::kSwitchOver &&
      (verdict.decision == Decision::kGiveUp || view.round >= limits.post_copy_rounds_max ||
       sends_too_much(view, limits))) {
    verdict.decision = Decision::kPostCopy;
  }
  return verdict;
}

}  // namespace godwit::precopy
