// SPDX-License-Identifier: Apache-2.0
#include "engine/precopy/policy.h"

#include "engine/base/check.h"

namespace godwit::precopy {

namespace {

// Below this much transfer another round costs more (a micro-pause and a scan) than it saves.
constexpr double kTransferWorthARoundS = 0.001;
// Remaining memory that is not at least this much smaller than a round before has stopped
// shrinking.
constexpr double kShrinkingFactor = 0.7;

}  // namespace

Verdict decide(const RoundView& view, const PolicyLimits& limits) {
  CHECK(view.bandwidth_bytes_per_s > 0);
  const double transfer_s = static_cast<double>(view.remaining_bytes) / view.bandwidth_bytes_per_s;
  const double predicted_s = view.fixed_downtime_s + transfer_s;
  const bool fits = predicted_s <= limits.downtime_s_max;
  const bool next_to_nothing = transfer_s <= kTransferWorthARoundS;
  const bool stalled = static_cast<double>(view.remaining_bytes) >
                       kShrinkingFactor * static_cast<double>(view.previous_remaining_bytes);
  const uint32_t stalled_rounds = stalled ? view.stalled_rounds + 1 : 0;
  const bool last_round = view.round >= limits.rounds_max;

  Decision decision = Decision::kNextRound;
  if (fits && (next_to_nothing || stalled || last_round)) {
    decision = Decision::kSwitchOver;
  } else if (last_round || stalled_rounds >= limits.stalled_rounds_max) {
    decision = Decision::kGiveUp;
  }
  return {decision, predicted_s, stalled_rounds};
}

}  // namespace godwit::precopy
