// SPDX-License-Identifier: Apache-2.0
//
// What the files of rules share.
#pragma once

#include <algorithm>

#include "tests/model/rules.h"

namespace godwit::model {

// The rules, by who acts.
void source_steps(const State& now, const Rules& rules, const Emit& emit);
void destination_steps(const State& now, const Rules& rules, const Emit& emit);
void lane_steps(const State& now, const Rules& rules, const Emit& emit);
void failure_steps(const State& now, const Rules& rules, const Emit& emit);

template <size_t Size>
Message front(const std::array<Message, Size>& queue) {
  return queue.front();
}

// Dropped when the link is down: it would not arrive.
template <size_t Size>
void send(State& state, std::array<Message, Size>& queue, Message message) {
  if (state.link_up == 0) return;
  auto* free = std::find(queue.begin(), queue.end(), Message::kNone);
  if (free != queue.end()) *free = message;
}

template <size_t Size>
void pop(std::array<Message, Size>& queue) {
  std::shift_left(queue.begin(), queue.end(), 1);
  queue.back() = Message::kNone;
}

inline bool before_commit(SourceState state) {
  return state < SourceState::kCommitted;
}

// It could still be told to stop.
inline bool before_commit(DestinationState state) {
  return state < DestinationState::kCommitted;
}

// The source's guest runs on, and this migration is over for it.
void resume_source(State& state);

// The destination's guest will never run.
void fail_destination(State& state);

// A page is in the guest's reach from now on.
void install(State& state, Pages pages, const Rules& rules);

// A page's content arrives in the destination's memory.
void land(State& state, const Lane& lane);

}  // namespace godwit::model
