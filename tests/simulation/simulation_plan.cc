// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/simulation_plan.h"

#include <fmt/core.h>

#include <algorithm>

#include "vmm-adapters/synthetic/random.h"

namespace godwit {
namespace {

// Draws for a plan, in words.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}

  uint64_t between(uint64_t least, uint64_t most) {
    return least + random_.below(most - least + 1);
  }
  bool one_in(uint64_t n) { return random_.below(n) == 0; }
  uint32_t per_mille_or_none(uint32_t most) {
    return one_in(2) ? static_cast<uint32_t>(between(0, most)) : 0;
  }
  // Small numbers most often, large ones sometimes: where along a migration something happens.
  uint64_t spread(uint64_t most) { return between(0, uint64_t{1} << between(0, most)); }
  uint64_t raw() { return random_.next(); }

 private:
  SplitMix random_;
};

SyntheticOptions draw_guest(Dice& dice) {
  SyntheticOptions guest;
  guest.seed = dice.raw();
  guest.blocks.clear();
  const uint64_t blocks = dice.between(1, 3);
  for (uint64_t block = 0; block < blocks; ++block) {
    guest.blocks.push_back(
        {.name = fmt::format("ram{}", block),
         .size_bytes = dice.between(1, dice.one_in(20) ? 1000 : 100) * kBasePageBytes});
  }
  guest.hole_percent = static_cast<unsigned>(dice.between(0, 60));
  guest.zero_percent = static_cast<unsigned>(dice.between(0, 40));
  guest.stale_percent = static_cast<unsigned>(dice.between(0, 60));
  guest.virtual_cpus = static_cast<unsigned>(dice.between(0, 2));
  guest.steps_per_second = dice.one_in(10) ? 200'000 : dice.between(500, 40'000);
  guest.hot_pages = dice.between(0, 16);
  guest.hot_percent = static_cast<unsigned>(dice.between(0, 100));
  guest.discard_weight = dice.one_in(3) ? 0 : static_cast<unsigned>(dice.between(1, 30));
  guest.read_weight = static_cast<unsigned>(dice.between(0, 20));
  if (dice.one_in(2)) guest.dma_queue_depth = static_cast<unsigned>(dice.between(1, 64));
  guest.dma_steps_per_second = dice.between(1'000, 60'000);
  if (dice.one_in(4)) guest.extra_state_bytes = dice.between(1, 200'000);
  return guest;
}

SourceOptions draw_source(Dice& dice) {
  SourceOptions source;
  source.session = fmt::format("{:016x}", dice.raw());
  source.software = "simulation";
  source.lanes = static_cast<uint32_t>(dice.between(1, 4));
  source.limits.rounds_max = static_cast<uint32_t>(dice.between(2, 12));
  source.limits.downtime_s_max = dice.one_in(8) ? 0.001 : 10;
  if (dice.one_in(8)) source.bandwidth_limit_bytes_per_s = dice.between(20, 400) * kMiB;
  source.verification = dice.one_in(3) ? Verification::kOn : Verification::kOff;
  source.peer_timeout = seconds(20);
  return source;
}

FaultPlan draw_link(Dice& dice) {
  return {.seed = dice.raw(),
          .delayed_per_mille = dice.per_mille_or_none(300),
          .delay_steps_max = static_cast<uint32_t>(dice.between(1, 32)),
          .torn_per_mille = dice.per_mille_or_none(100),
          .short_post_per_mille = dice.per_mille_or_none(200),
          .slow_flush_per_mille = dice.per_mille_or_none(500),
          .disconnect_at_operation = {},
          .disconnect_at_message = {},
          .disconnect_only_lane = {},
          .disconnect_lanes_below = {}};
}

void disconnect_a_lane(Dice& dice, SimulationPlan& plan) {
  FaultPlan& link = dice.one_in(3) ? plan.destination_link : plan.source_link;
  if (dice.one_in(2)) {
    link.disconnect_at_message = dice.spread(5);
  } else {
    plan.source_link.disconnect_at_operation = dice.spread(8);
  }
  if (dice.one_in(2)) {
    plan.source_link.disconnect_only_lane = plan.destination_link.disconnect_only_lane =
        static_cast<uint32_t>(dice.between(0, plan.source.lanes - 1));
  } else if (dice.one_in(8)) {
    // However often it is tried again.
    plan.fault = SimulatedFault::kNoLaneWorks;
    plan.source.peer_timeout = plan.destination.peer_timeout = seconds(1);
  } else {
    plan.source_link.disconnect_lanes_below = plan.destination_link.disconnect_lanes_below =
        plan.source.lanes;
  }
}

void cut_control(Dice& dice, SimulationPlan& plan) {
  const ControlCut cut{.message = dice.between(1, 9),
                       .when = static_cast<ControlCut::When>(dice.between(1, 3))};
  if (dice.one_in(2)) {
    plan.control.from_first = cut;
  } else {
    plan.control.from_second = ControlCut{.message = dice.between(1, 5), .when = cut.when};
  }
}

void add_fault(Dice& dice, SimulationPlan& plan) {
  switch (plan.fault) {
    case SimulatedFault::kLaneDisconnect:
      return disconnect_a_lane(dice, plan);
    case SimulatedFault::kControlCut:
      return cut_control(dice, plan);
    case SimulatedFault::kSourceCancel:
      plan.cancel_source_in =
          static_cast<SourceState>(dice.between(1, static_cast<uint64_t>(SourceState::kCompleted)));
      return;
    case SimulatedFault::kDestinationCancel:
      plan.cancel_destination_in = static_cast<DestinationState>(
          dice.between(1, static_cast<uint64_t>(DestinationState::kRunning)));
      return;
    case SimulatedFault::kSourceGuest:
      plan.source_guest.failing_operation =
          dice.one_in(2) ? SyntheticOperation::kPause : SyntheticOperation::kSaveState;
      plan.source_guest.failing_call =
          plan.source_guest.failing_operation == SyntheticOperation::kPause
              ? static_cast<unsigned>(dice.between(0, 3))
              : 0;
      return;
    case SimulatedFault::kDestinationGuest:
      plan.destination_guest.failing_operation = dice.one_in(3)   ? SyntheticOperation::kPrepare
                                                 : dice.one_in(2) ? SyntheticOperation::kLoadState
                                                                  : SyntheticOperation::kStart;
      return;
    case SimulatedFault::kOtherMachine:
      plan.destination_guest.machine = "synthetic-2";
      return;
    case SimulatedFault::kOtherLayout:
      plan.destination_guest.blocks.back().size_bytes += kBasePageBytes;
      return;
    case SimulatedFault::kNone:
    case SimulatedFault::kSourceCommitLog:
    case SimulatedFault::kDestinationCommitLog:
    case SimulatedFault::kNoLaneWorks:
    case SimulatedFault::kEnd:
      return;
  }
}

// Somewhere along a connection of the post-copy phase.
ControlFaultPlan draw_cut(Dice& dice) {
  ControlFaultPlan plan;
  const ControlCut cut{.message = dice.between(1, 12),
                       .when = static_cast<ControlCut::When>(dice.between(1, 3))};
  (dice.one_in(2) ? plan.from_first : plan.from_second) = cut;
  return plan;
}

}  // namespace

const char* to_string(SimulatedFault fault) {
  switch (fault) {
    case SimulatedFault::kNone:
      return "none";
    case SimulatedFault::kLaneDisconnect:
      return "lane disconnect";
    case SimulatedFault::kNoLaneWorks:
      return "every lane disconnects";
    case SimulatedFault::kControlCut:
      return "control cut";
    case SimulatedFault::kSourceCancel:
      return "cancel at the source";
    case SimulatedFault::kDestinationCancel:
      return "cancel at the destination";
    case SimulatedFault::kSourceGuest:
      return "source VMM fails";
    case SimulatedFault::kDestinationGuest:
      return "destination VMM fails";
    case SimulatedFault::kSourceCommitLog:
      return "source commit log fails";
    case SimulatedFault::kDestinationCommitLog:
      return "destination commit log fails";
    case SimulatedFault::kOtherMachine:
      return "another machine";
    case SimulatedFault::kOtherLayout:
      return "another layout";
    case SimulatedFault::kEnd:
      break;
  }
  return "no fault";
}

SimulationPlan plan_from_seed(uint64_t seed) {
  Dice dice(seed);
  SimulationPlan plan;
  plan.seed = seed;
  plan.source_guest = draw_guest(dice);
  plan.destination_guest = plan.source_guest;
  plan.source = draw_source(dice);
  plan.destination.software = "simulation";
  plan.destination.peer_timeout = plan.source.peer_timeout;
  plan.source_link = draw_link(dice);
  plan.destination_link = draw_link(dice);
  // Half of all migrations are left alone, but for what a link may do to any.
  if (dice.one_in(2)) {
    plan.fault = static_cast<SimulatedFault>(
        dice.between(2, static_cast<uint64_t>(SimulatedFault::kNoLaneWorks) - 1));
    add_fault(dice, plan);
  }
  return plan;
}

SimulationPlan post_copy_plan_from_seed(uint64_t seed) {
  SimulationPlan plan = plan_from_seed(seed);
  Dice dice(~seed);
  const bool fails_early =
      plan.fault != SimulatedFault::kLaneDisconnect && plan.fault != SimulatedFault::kControlCut &&
      plan.fault != SimulatedFault::kSourceGuest &&
      plan.fault != SimulatedFault::kDestinationGuest && plan.fault != SimulatedFault::kNoLaneWorks;
  if (fails_early) plan.fault = SimulatedFault::kNone;
  if (plan.fault == SimulatedFault::kNone) {
    plan.source_guest.failing_operation = plan.destination_guest.failing_operation = {};
    plan.destination_guest = plan.source_guest;
    plan.cancel_source_in.reset();
    plan.cancel_destination_in.reset();
  }
  plan.source.post_copy = dice.one_in(2) ? PostCopy::kNow : PostCopy::kAuto;
  plan.source.verification = Verification::kOff;
  plan.source.limits.downtime_s_max = 0.001;
  plan.source.limits.post_copy_rounds_max = 2;
  if (plan.fault == SimulatedFault::kControlCut) {
    if (dice.one_in(2)) {
      // After the hand-over.
      const ControlCut cut{.message = dice.between(6, 40),
                           .when = static_cast<ControlCut::When>(dice.between(1, 3))};
      plan.control = {};
      (dice.one_in(2) ? plan.control.from_first : plan.control.from_second) = cut;
    }
    const uint64_t cuts = dice.between(0, 4);
    for (uint64_t i = 0; i < cuts; ++i) plan.reconnections.push_back(draw_cut(dice));
  }
  if (plan.fault == SimulatedFault::kLaneDisconnect) {
    for (FaultPlan* link : {&plan.source_link, &plan.destination_link}) {
      link->disconnect_only_lane.reset();
      link->disconnect_lanes_below = static_cast<uint32_t>(plan.source.lanes + dice.between(0, 12));
    }
    if (dice.one_in(2)) plan.destination_link.disconnect_at_operation = dice.spread(6);
  }
  // A VMM that waits for pages before it answers. One that fails then has been told to run before.
  if (dice.one_in(8) && plan.fault != SimulatedFault::kDestinationGuest)
    plan.destination_guest.slow_starts = static_cast<unsigned>(dice.between(1, 3));
  return plan;
}

std::string describe(const SimulationPlan& plan) {
  uint64_t bytes = 0;
  for (const SyntheticBlock& block : plan.source_guest.blocks) bytes += block.size_bytes;
  std::string text = fmt::format(
      "seed {}: fault: {}; {} KiB in {} blocks, {} vCPUs at {}/s, DMA depth {}, {} lanes, verify "
      "{}, post-copy {}",
      plan.seed, to_string(plan.fault), bytes / kKiB, plan.source_guest.blocks.size(),
      plan.source_guest.virtual_cpus, plan.source_guest.steps_per_second,
      plan.source_guest.dma_queue_depth, plan.source.lanes,
      plan.source.verification == Verification::kOn ? "on" : "off",
      plan.source.post_copy == PostCopy::kNever ? "never"
      : plan.source.post_copy == PostCopy::kNow ? "now"
                                                : "auto");
  if (plan.cancel_source_in) text += fmt::format(", in {}", to_string(*plan.cancel_source_in));
  if (plan.cancel_destination_in)
    text += fmt::format(", in {}", to_string(*plan.cancel_destination_in));
  return text;
}

}  // namespace godwit
