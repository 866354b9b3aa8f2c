// SPDX-License-Identifier: Apache-2.0
//
// The source: its guest, its agent, and the guardian that stands in for a dead one.
#include "tests/model/parts.h"

namespace godwit::model {
namespace {

// Until it has said what is missing, the lanes carry its writes.
bool sends_pages(SourceState state) {
  return state < SourceState::kAwaitingReady;
}

bool lanes_are_idle(const State& state) {
  return std::all_of(state.lanes.begin(), state.lanes.end(),
                     [](const Lane& lane) { return lane.cargo == Cargo::kNothing; });
}

void write_page(State& state, uint8_t page) {
  ++state.newest[page];
  add(state.dirty, page_bit(page));
  --state.writes_left;
}

void guest_steps(const State& now, const Rules& rules, const Emit& emit) {
  if (now.source != SourceState::kPrecopy || now.writes_left == 0) return;
  for (uint8_t page = 0; page < rules.pages; ++page) {
    State next = now;
    write_page(next, page);
    emit(next, {"the guest writes at the source", page});
  }
}

void precopy_steps(const State& now, const Rules& rules, const Emit& emit) {
  // A round begins when the one before has arrived: no page is on two lanes at once.
  const bool round_over = lanes_are_idle(now) || rules.bug == Bug::kRoundsOverlap;
  if (now.source == SourceState::kPrecopy && now.dirty != 0 && round_over) {
    State next = now;
    add(next.to_send, next.dirty);
    next.dirty = 0;
    emit(next, {"the source scans"});
  }
  if (!sends_pages(now.source) || now.link_up == 0) return;
  for (uint8_t lane = 0; lane < kLanes; ++lane) {
    if (now.lanes[lane].state != LaneState::kUp || now.lanes[lane].cargo != Cargo::kNothing) {
      continue;
    }
    for (uint8_t page = 0; page < rules.pages; ++page) {
      if (!has(now.to_send, page)) continue;
      State next = now;
      next.lanes[lane] = {LaneState::kUp, Cargo::kPosted, page, now.newest[page]};
      remove(next.to_send, page_bit(page));
      emit(next, {"the source sends", page, lane});
    }
  }
}

// A lane that is lost is closed at the destination, and only then are its pages sent again.
void lane_closing_steps(const State& now, const Rules& rules, const Emit& emit) {
  if (!sends_pages(now.source)) return;
  for (uint8_t index = 0; index < kLanes; ++index) {
    const Lane& lane = now.lanes[index];
    if (lane.state != LaneState::kLost) continue;
    State next = now;
    if (lane.cargo == Cargo::kPosted) add(next.to_send, page_bit(lane.page));
    if (rules.bug == Bug::kResendsBeforeClosing && lane.cargo == Cargo::kPosted) next.stray = lane;
    next.lanes[index] = {LaneState::kClosed, Cargo::kNothing, 0, 0};
    emit(next, {"the source has a lost lane closed", kPagesMax, index});
  }
}

void pausing_steps(const State& now, const Rules& rules, const Emit& emit) {
  if (now.source == SourceState::kPrecopy) {
    State next = now;
    next.source = SourceState::kPausing;
    next.source_runs = 0;
    if (rules.bug == Bug::kMissingSetBeforeLastScan) {
      add(next.to_send, next.dirty);
      next.dirty = 0;
    }
    emit(next, {"the source pauses its guest"});
  }
  if (now.source == SourceState::kPausing) {
    State next = now;
    next.source = SourceState::kSavingState;
    emit(next, {"the source saves the device state"});
    for (uint8_t page = 0; page < rules.pages && now.writes_left > 0; ++page) {
      State written = next;
      write_page(written, page);
      emit(written, {"the source saves the device state, which writes", page});
    }
  }
}

void switchover_step(const State& now, const Rules& rules, const Emit& emit) {
  if (now.source != SourceState::kSavingState || now.link_up == 0) return;
  State next = now;
  if (!lanes_are_idle(now)) {
    if (rules.bug != Bug::kDoesNotDrainPrecopy) return;
    for (Lane& lane : next.lanes) {
      if (lane.cargo == Cargo::kNothing) continue;
      next.stray = lane;
      lane.cargo = Cargo::kNothing;
    }
  }
  next.missing = next.to_send;
  if (rules.bug != Bug::kMissingSetBeforeLastScan) add(next.missing, next.dirty);
  next.to_send = 0;
  next.dirty = 0;
  next.source = SourceState::kAwaitingReady;
  send(next, next.to_destination, Message::kMissingPages);
  send(next, next.to_destination, Message::kDeviceState);
  emit(next, {"the source says what is missing, and sends the device state"});
}

void message_step(const State& now, const Rules& rules, const Emit& emit) {
  const Message message = front(now.to_source);
  if (message == Message::kNone) return;
  State next = now;
  pop(next.to_source);
  if (message == Message::kReady && now.source == SourceState::kAwaitingReady) {
    if (rules.bug == Bug::kCommitToldBeforeWritten) {
      if (now.commit_unsent != 0) return;
      send(next, next.to_destination, Message::kCommit);
      next.commit_unsent = 2;
      emit(next, {"the source says commit before it has written it down"});
      return;
    }
    next.source = SourceState::kCommitted;
    next.commit_recorded = 1;
    next.commit_unsent = 1;
    emit(next, {"the source decides, and writes it down"});
    return;
  }
  if (message == Message::kAbort && before_commit(now.source)) resume_source(next);
  if (message == Message::kDone && now.source == SourceState::kCommitted) {
    next.source = SourceState::kCompleted;
  }
  emit(next, {"the source takes a message"});
}

void commit_steps(const State& now, const Emit& emit) {
  if (now.commit_unsent == 1 && now.link_up == 1) {
    State next = now;
    next.commit_unsent = 0;
    send(next, next.to_destination, Message::kCommit);
    emit(next, {"the source says commit"});
  }
  if (now.commit_unsent == 2 && before_commit(now.source)) {  // kCommitToldBeforeWritten only
    State next = now;
    next.commit_unsent = 0;
    next.commit_recorded = 1;
    next.source = SourceState::kCommitted;
    emit(next, {"the source writes the commit down, too late"});
  }
}

void notice_step(const State& now, const Emit& emit) {
  if (now.link_up == 1 || now.source_noticed == 1) return;
  State next = now;
  next.source_noticed = 1;
  next.to_source = {};
  if (before_commit(now.source)) resume_source(next);
  emit(next, {"the source notices that the link is down"});
}

// The guardian resumes the guest of an agent that died before it had written the commit down.
void guardian_step(const State& now, const Rules& rules, const Emit& emit) {
  const bool ours = now.commit_recorded == 0 || rules.bug == Bug::kSourceResumesAfterCommit;
  if (!ours || now.source == SourceState::kFailed) return;
  State next = now;
  resume_source(next);
  emit(next, {"the guardian resumes the guest at the source"});
}

void restart_step(const State& now, const Emit& emit) {
  if (before_commit(now.source)) return;
  State next = now;
  next.source_agent = 1;
  emit(next, {"a new source agent takes over"});
}

}  // namespace

void resume_source(State& state) {
  state.source = SourceState::kFailed;
  state.source_runs = 1;
  state.dirty = 0;
  state.to_send = 0;
  state.commit_unsent = 0;
  if (state.armed == 1) return;
  // Writes that are still on their way change nothing that will ever run.
  for (Lane& lane : state.lanes) lane.cargo = Cargo::kNothing;
}

void source_steps(const State& now, const Rules& rules, const Emit& emit) {
  guest_steps(now, rules, emit);
  if (now.source_agent == 0) {
    guardian_step(now, rules, emit);
    restart_step(now, emit);
    return;
  }
  precopy_steps(now, rules, emit);
  lane_closing_steps(now, rules, emit);
  pausing_steps(now, rules, emit);
  switchover_step(now, rules, emit);
  message_step(now, rules, emit);
  commit_steps(now, emit);
  notice_step(now, emit);
}

}  // namespace godwit::model
