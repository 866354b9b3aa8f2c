// SPDX-License-Identifier: Apache-2.0
//
// The destination: its guest, its agent, and an agent that takes over from a dead one.
#include "tests/model/ledger_steps.h"
#include "tests/model/parts.h"

namespace godwit::model {
namespace {

bool serves_faults(const State& state) {
  return state.armed == 1 && state.finished == 0;
}

bool nobody_waits(const State& state) {
  return std::all_of(state.waits.begin(), state.waits.end(),
                     [](Wait wait) { return wait == Wait::kNobody; });
}

// The VMM that loads its devices' state touches memory, and so does the guest that runs.
void touch_steps(const State& now, const Rules& rules, const Emit& emit) {
  const bool touches =
      now.destination == DestinationState::kLoadingState || now.destination_runs == 1;
  if (!touches || !serves_faults(now)) return;
  for (uint8_t page = 0; page < rules.pages; ++page) {
    if (has(now.installed, page) || now.waits[page] != Wait::kNobody) continue;
    State next = now;
    next.waits[page] = Wait::kReported;
    emit(next, {"the destination's guest touches", page});
  }
}

void message_step(const State& now, const Emit& emit) {
  const Message message = front(now.to_destination);
  if (message == Message::kNone) return;
  State next = now;
  pop(next.to_destination);
  if (message == Message::kMissingPages && now.destination == DestinationState::kReceiving) {
    next.armed = 1;
    ledger::begin(next, now.missing);
  }
  if (message == Message::kDeviceState && now.destination == DestinationState::kReceiving) {
    next.destination = DestinationState::kLoadingState;
  }
  if (message == Message::kCommit && now.destination == DestinationState::kReady) {
    next.destination = DestinationState::kCommitted;
  }
  if (message == Message::kAbort && before_commit(now.destination)) fail_destination(next);
  emit(next, {"the destination takes a message"});
}

void ownership_steps(const State& now, const Rules& rules, const Emit& emit) {
  if (now.destination == DestinationState::kLoadingState && nobody_waits(now)) {
    State next = now;
    next.destination = DestinationState::kReady;
    if (rules.bug == Bug::kStartsBeforeCommit) next.destination_runs = 1;
    send(next, next.to_source, Message::kReady);
    emit(next, {"the destination has loaded its devices, and says ready"});
  }
  if (now.destination == DestinationState::kCommitted) {
    State next = now;
    next.destination = DestinationState::kRunning;
    next.destination_runs = 1;
    emit(next, {"the destination starts its guest"});
  }
}

// Claims a page for a lane that has nothing to do.
bool fetch(State& state, uint8_t page, size_t lane) {
  Lane& by = state.lanes[lane];
  if (by.state != LaneState::kUp || by.cargo != Cargo::kNothing) return false;
  if (!ledger::claim(state, page)) return false;
  by = {LaneState::kUp, Cargo::kPosted, page, state.newest[page]};
  return true;
}

// What the agent does about a fault that it has read.
void serve_step(const State& now, uint8_t page, const Rules& rules, const Emit& emit) {
  State next = now;
  if (has(now.received, page)) {
    install(next, ledger::received_around(now, page), rules);
    emit(next, {"the destination installs what is there around", page});
  } else if (has(now.claimed, page)) {
    next.waits[page] = Wait::kLeft;
    emit(next, {"the destination leaves the fault to who fetches", page});
  } else if (fetch(next, page, kFaultLane)) {
    next.waits[page] = Wait::kLeft;
    emit(next, {"the destination fetches for a fault", page, kFaultLane});
  }
}

void fault_steps(const State& now, const Rules& rules, const Emit& emit) {
  for (uint8_t page = 0; page < rules.pages; ++page) {
    if (now.waits[page] == Wait::kReported) {
      State next = now;
      next.waits[page] = Wait::kRead;
      emit(next, {"the destination reads the fault on", page});
    }
    if (now.waits[page] == Wait::kRead) serve_step(now, page, rules, emit);
  }
}

void background_steps(const State& now, const Rules& rules, const Emit& emit) {
  for (uint8_t lane = kFaultLane + 1; lane < kLanes; ++lane) {
    for (uint8_t page = 0; page < rules.pages; ++page) {
      State next = now;
      if (fetch(next, page, lane)) emit(next, {"the destination fetches ahead", page, lane});
    }
  }
}

void completion_steps(const State& now, const Rules& rules, const Emit& emit) {
  const bool installs_first = rules.bug == Bug::kInstallsBeforeMarking;
  for (uint8_t index = 0; index < kLanes; ++index) {
    const Lane& lane = now.lanes[index];
    const uint8_t page = lane.page;
    const bool arrived = lane.cargo == Cargo::kLanded ||
                         (rules.bug == Bug::kMarksBeforeArrival && lane.cargo == Cargo::kPosted);
    if (!arrived && lane.cargo != Cargo::kInHands) continue;
    State next = now;
    next.lanes[index].cargo = arrived ? Cargo::kInHands : Cargo::kNothing;
    if (arrived != installs_first) {
      ledger::mark_received(next, page);
      emit(next, {"the destination marks received", page, index});
    } else {
      install(next, page_bit(page), rules);
      emit(next, {"the destination installs", page, index});
    }
  }
}

// A lost lane's page goes back only when nothing of it can arrive any more, and whoever waits for
// it is made to touch it again.
void lane_closing_steps(const State& now, const Rules& rules, const Emit& emit) {
  for (uint8_t index = 0; index < kLanes; ++index) {
    const Lane& lane = now.lanes[index];
    if (lane.state != LaneState::kLost) continue;
    State next = now;
    next.lanes[index].state = LaneState::kClosed;
    if (lane.cargo == Cargo::kPosted || lane.cargo == Cargo::kLanded) {
      if (rules.bug == Bug::kGivesBackBeforeClosing && lane.cargo == Cargo::kPosted) {
        next.stray = lane;
      }
      next.lanes[index].cargo = Cargo::kNothing;
      ledger::give_back(next, lane.page);
      if (rules.bug != Bug::kNoWakeAfterGiveBack) add(next.to_wake, page_bit(lane.page));
    }
    emit(next, {"the destination closes a lost lane", kPagesMax, index});
  }
}

void wake(State& state, Pages pages) {
  for (uint8_t page = 0; page < kPagesMax; ++page) {
    if (has(pages, page) && state.waits[page] != Wait::kNobody) {
      state.waits[page] = Wait::kReported;
    }
  }
}

void wake_step(const State& now, const Emit& emit) {
  if (now.to_wake == 0) return;
  State next = now;
  wake(next, now.to_wake);
  next.to_wake = 0;
  emit(next, {"the destination wakes who waits for a page that was given back"});
}

void disarm_step(const State& now, const Rules& rules, const Emit& emit) {
  if (now.destination != DestinationState::kRunning) return;
  const bool idle = std::all_of(now.lanes.begin(), now.lanes.end(),
                                [](const Lane& lane) { return lane.cargo == Cargo::kNothing; });
  const bool done = idle && ledger::all_received(now);
  if (!done && rules.bug != Bug::kDisarmsWhilePagesAreMissing) return;
  State next = now;
  // Those that are installed already are the guest's.
  const auto all = static_cast<Pages>(page_bit(rules.pages) - 1);
  install(next, static_cast<Pages>(all & ~now.installed), rules);
  next.finished = 1;
  send(next, next.to_source, Message::kDone);
  emit(next, {"the destination has all pages, and disarms"});
}

void notice_step(const State& now, const Emit& emit) {
  if (now.link_up == 1 || now.destination_noticed == 1) return;
  State next = now;
  next.destination_noticed = 1;
  next.to_destination = {};
  if (now.destination < DestinationState::kReady) fail_destination(next);
  emit(next, {"the destination notices that the link is down"});
}

void restart_step(const State& now, const Rules& rules, const Emit& emit) {
  State next = now;
  next.destination_agent = 1;
  if (now.destination < DestinationState::kReady) {
    fail_destination(next);
  } else if (now.destination != DestinationState::kFailed) {
    if (rules.bug == Bug::kForgetsReceivedOnResume) next.received = 0;
    ledger::take_over(next);
    if (rules.bug != Bug::kNoWakeAfterResume) wake(next, static_cast<Pages>(~Pages{0}));
  }
  emit(next, {"a new destination agent takes over"});
}

}  // namespace

void fail_destination(State& state) {
  state.destination = DestinationState::kFailed;
  state.armed = 0;
  state.content = {};
  state.received = 0;
  state.claimed = 0;
  state.installed = 0;
  state.to_wake = 0;
  state.waits = {};
  for (Lane& lane : state.lanes) lane = {LaneState::kClosed, Cargo::kNothing, 0, 0};
  state.stray = {};
}

void install(State& state, Pages pages, const Rules& rules) {
  for (uint8_t page = 0; page < rules.pages; ++page) {
    if (!has(pages, page) || has(state.installed, page)) continue;
    if (state.content[page] != state.newest[page]) state.violation = Violation::kStalePage;
    add(state.installed, page_bit(page));
    state.waits[page] = Wait::kNobody;
  }
}

void destination_steps(const State& now, const Rules& rules, const Emit& emit) {
  touch_steps(now, rules, emit);
  if (now.destination_agent == 0) {
    if (now.destination != DestinationState::kFailed) restart_step(now, rules, emit);
    return;
  }
  message_step(now, emit);
  ownership_steps(now, rules, emit);
  notice_step(now, emit);
  if (!serves_faults(now)) return;
  fault_steps(now, rules, emit);
  background_steps(now, rules, emit);
  completion_steps(now, rules, emit);
  lane_closing_steps(now, rules, emit);
  wake_step(now, emit);
  disarm_step(now, rules, emit);
}

}  // namespace godwit::model
