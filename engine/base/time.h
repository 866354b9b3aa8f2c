// SPDX-License-Identifier: Apache-2.0
//
// Time as the engine uses it: one monotonic clock, deadlines instead of time-outs, so that a chain
// of calls shares one limit.
#pragma once

#include <chrono>

namespace godwit {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;
using std::chrono::duration_cast;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

inline Deadline deadline_in(Clock::duration duration) {
  return Clock::now() + duration;
}

// Milliseconds left until `deadline`, rounded up, never negative: what poll(2) takes.
inline int milliseconds_until(Deadline deadline) {
  auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
  if (left < 0) return 0;
  return left > 3'600'000 ? 3'600'000 : static_cast<int>(left);
}

inline double to_milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

inline double to_seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

inline Clock::duration from_seconds(double value) {
  return duration_cast<Clock::duration>(std::chrono::duration<double>(value));
}

}  // namespace godwit
