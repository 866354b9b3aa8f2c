// SPDX-License-Identifier: Apache-2.0
//
// What goes wrong, at any moment; how the link comes back; and what lanes do by themselves.
#include "tests/model/parts.h"

namespace godwit::model {
namespace {

constexpr Lane kIdleLane{LaneState::kUp, Cargo::kNothing, 0, 0};

void lane_goes(Lane& lane) {
  if (lane.state == LaneState::kUp) lane.state = LaneState::kLost;
}

// Messages that have arrived can still be taken, until the loss is noticed.
void link_goes(State& state) {
  if (state.link_up == 1) {
    state.link_up = 0;
    state.source_noticed = state.source_agent == 0;
    state.destination_noticed = state.destination_agent == 0;
  }
  for (Lane& lane : state.lanes) lane_goes(lane);
}

void lane_loss_steps(const State& now, const Emit& emit) {
  for (uint8_t index = 0; index < kLanes; ++index) {
    if (now.lanes[index].state != LaneState::kUp) continue;
    State next = now;
    --next.failures_left;
    lane_goes(next.lanes[index]);
    emit(next, {"a lane is lost", kPagesMax, index, Kind::kFailure});
  }
}

void link_cut_step(const State& now, const Emit& emit) {
  if (now.link_up == 0) return;
  State next = now;
  --next.failures_left;
  link_goes(next);
  emit(next, {"the link is cut", kPagesMax, kLanes, Kind::kFailure});
}

void source_kill_step(const State& now, const Emit& emit) {
  if (now.source_agent == 0) return;
  State next = now;
  --next.failures_left;
  next.source_agent = 0;
  link_goes(next);
  next.source_noticed = 1;
  next.to_source = {};
  next.commit_unsent = 0;
  emit(next, {"the source agent is killed", kPagesMax, kLanes, Kind::kFailure});
}

// With the process go its connections: nothing of its lanes arrives after its death.
void destination_kill_step(const State& now, const Emit& emit) {
  if (now.destination_agent == 0 || now.destination == DestinationState::kFailed) return;
  State next = now;
  --next.failures_left;
  next.destination_agent = 0;
  link_goes(next);
  next.destination_noticed = 1;
  next.to_destination = {};
  for (Lane& lane : next.lanes) lane = {LaneState::kClosed, Cargo::kNothing, 0, 0};
  next.stray = {};
  next.claimed = 0;
  next.to_wake = 0;
  emit(next, {"the destination agent is killed", kPagesMax, kLanes, Kind::kFailure});
}

void abort_steps(const State& now, const Emit& emit) {
  if (now.source_agent == 1 && before_commit(now.source) && now.commit_unsent == 0) {
    State next = now;
    --next.failures_left;
    resume_source(next);
    send(next, next.to_destination, Message::kAbort);
    emit(next, {"the source is cancelled", kPagesMax, kLanes, Kind::kFailure});
  }
  if (now.destination_agent == 1 && now.destination < DestinationState::kReady) {
    State next = now;
    --next.failures_left;
    fail_destination(next);
    send(next, next.to_source, Message::kAbort);
    emit(next, {"the destination gives up", kPagesMax, kLanes, Kind::kFailure});
  }
}

// Each side tells the other what it may have missed.
void reconnect_step(const State& now, const Rules& rules, const Emit& emit) {
  const bool wanted = now.link_up == 0 && now.source_noticed == 1 && now.destination_noticed == 1;
  const bool possible = now.source_agent == 1 && now.destination_agent == 1;
  if (!wanted || !possible || before_commit(now.source)) return;
  State next = now;
  next.link_up = 1;
  next.source_noticed = 0;
  next.destination_noticed = 0;
  next.commit_unsent = 0;
  if (now.source == SourceState::kCommitted && now.destination == DestinationState::kReady &&
      rules.bug != Bug::kDecisionNotRepeated) {
    send(next, next.to_destination, Message::kCommit);
  }
  if (now.source == SourceState::kFailed && before_commit(now.destination)) {
    send(next, next.to_destination, Message::kAbort);
  }
  if (now.finished == 1) send(next, next.to_source, Message::kDone);
  emit(next, {"the agents find each other again"});
}

void lane_reconnect_steps(const State& now, const Emit& emit) {
  const bool possible = now.link_up == 1 && now.source_agent == 1 && now.destination_agent == 1;
  if (!possible || now.destination == DestinationState::kFailed) return;
  for (uint8_t index = 0; index < kLanes; ++index) {
    const Lane& lane = now.lanes[index];
    if (lane.state != LaneState::kClosed || lane.cargo != Cargo::kNothing) continue;
    State next = now;
    next.lanes[index] = kIdleLane;
    emit(next, {"a lane connects again", kPagesMax, index});
  }
}

}  // namespace

void land(State& state, const Lane& lane) {
  if (state.destination == DestinationState::kFailed) return;
  if (has(state.installed, lane.page)) state.violation = Violation::kWrittenAfterInstall;
  state.content[lane.page] = lane.version;
}

void lane_steps(const State& now, const Rules& rules, const Emit& emit) {
  for (uint8_t index = 0; index < kLanes; ++index) {
    const Lane& lane = now.lanes[index];
    if (lane.cargo != Cargo::kPosted || lane.state == LaneState::kClosed) continue;
    State next = now;
    land(next, lane);
    next.lanes[index].cargo = now.armed == 1 ? Cargo::kLanded : Cargo::kNothing;
    emit(next, {"arrives in memory:", lane.page, index});
  }
  if (now.stray.cargo == Cargo::kPosted) {
    State next = now;
    land(next, now.stray);
    next.stray = {};
    emit(next, {"arrives in memory after all:", now.stray.page});
  }
  reconnect_step(now, rules, emit);
  lane_reconnect_steps(now, emit);
}

void failure_steps(const State& now, const Rules&, const Emit& emit) {
  if (now.failures_left == 0 || is_final(now)) return;
  lane_loss_steps(now, emit);
  link_cut_step(now, emit);
  source_kill_step(now, emit);
  destination_kill_step(now, emit);
  abort_steps(now, emit);
}

State initial_state(const Rules& rules) {
  State state{};
  state.source = SourceState::kPrecopy;
  state.source_agent = 1;
  state.source_runs = 1;
  state.writes_left = rules.source_writes;
  state.to_send = static_cast<Pages>(page_bit(rules.pages) - 1);
  state.destination = DestinationState::kReceiving;
  state.destination_agent = 1;
  state.content.fill(kNeverWritten);
  state.link_up = 1;
  for (Lane& lane : state.lanes) lane = kIdleLane;
  state.failures_left = rules.failures;
  return state;
}

bool is_final(const State& state) {
  if (state.source == SourceState::kCompleted) return state.finished == 1;
  return state.source == SourceState::kFailed && state.source_runs == 1 &&
         state.destination == DestinationState::kFailed && state.destination_runs == 0;
}

Violation broken_invariant(const State& state) {
  const bool destination_owns = state.destination == DestinationState::kCommitted ||
                                state.destination == DestinationState::kRunning ||
                                state.destination_runs == 1;
  if (destination_owns && state.source_runs == 1) return Violation::kTwoOwners;
  if (state.destination_agent == 0 || state.armed == 0) return Violation::kNone;
  for (uint8_t page = 0; page < kPagesMax; ++page) {
    if (state.waits[page] != Wait::kLeft) continue;
    const bool in_hands = std::any_of(
        state.lanes.begin(), state.lanes.end(),
        [page](const Lane& lane) { return lane.cargo == Cargo::kInHands && lane.page == page; });
    if (!in_hands && !has(state.claimed, page) && !has(state.to_wake, page)) {
      return Violation::kForgottenFault;
    }
  }
  return Violation::kNone;
}

void for_each_step(const State& now, const Rules& rules, const Emit& emit) {
  source_steps(now, rules, emit);
  destination_steps(now, rules, emit);
  lane_steps(now, rules, emit);
  failure_steps(now, rules, emit);
}

std::string to_string(const Action& action) {
  std::string text = action.what;
  if (action.page < kPagesMax) text += " page " + std::to_string(action.page);
  if (action.lane < kLanes) text += " (lane " + std::to_string(action.lane) + ")";
  return text;
}

}  // namespace godwit::model
