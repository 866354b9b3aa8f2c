// SPDX-License-Identifier: Apache-2.0
//
// Everything there is in one moment of a modelled migration: both guests, both agents, what is
// durable, and all that is in flight. Small, of bytes only, so that a million of them can be kept
// and compared.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "engine/migration/states.h"

namespace godwit::model {

inline constexpr uint8_t kPagesMax = 3;
inline constexpr size_t kLanes = 2;
inline constexpr size_t kFaultLane = 0;  // in post-copy; in pre-copy all are alike
inline constexpr uint8_t kNeverWritten = 0xff;

using Pages = uint8_t;  // one bit per page

constexpr Pages page_bit(uint8_t page) {
  return static_cast<Pages>(1U << page);
}
constexpr bool has(Pages pages, uint8_t page) {
  return (pages & page_bit(page)) != 0;
}
inline void add(Pages& pages, Pages more) {
  pages = static_cast<Pages>(pages | more);
}
inline void remove(Pages& pages, Pages gone) {
  pages = static_cast<Pages>(pages & ~gone);
}

enum class Violation : uint8_t {
  kNone,
  kStalePage,            // the guest can reach a page that is not the newest
  kWrittenAfterInstall,  // a page was written that the guest may have changed
  kTwoOwners,            // the guest can run on both sides
  kForgottenFault,       // somebody waits for a page that nobody will bring
  kCannotFinish,         // no way leads to an end, even if nothing fails any more
};

enum class Message : uint8_t {
  kNone,
  kMissingPages,
  kDeviceState,
  kReady,
  kCommit,
  kDone,  // all pages are received
  kAbort,
};

enum class LaneState : uint8_t {
  kUp,
  kLost,    // what is on its way may still arrive
  kClosed,  // nothing can arrive any more
};

// What a lane carries. In pre-copy a write goes from kPosted to kNothing; in post-copy a read
// passes through all.
enum class Cargo : uint8_t {
  kNothing,
  kPosted,
  kLanded,   // the page lies in memory, and the agent does not know yet
  kInHands,  // the first of the two steps on completion is done: mark received, install
};

struct Lane {
  LaneState state;
  Cargo cargo;
  uint8_t page;
  uint8_t version;
};

// Somebody (a vCPU, a device) who touched a page that is not installed.
enum class Wait : uint8_t {
  kNobody,
  kReported,  // the fault is in the userfaultfd
  kRead,      // the agent has taken it out
  kLeft,      // and left it to who fetches the page
};

struct State {
  // The source.
  SourceState source;
  uint8_t source_agent;  // 1 = alive
  uint8_t source_runs;   // the guest, there
  uint8_t commit_recorded;
  uint8_t commit_unsent;
  uint8_t writes_left;  // how often the guest may still write, to keep the model finite
  std::array<uint8_t, kPagesMax> newest;  // version of each page at the source
  Pages dirty;                            // written since the last scan
  Pages to_send;
  Pages missing;  // what the switchover left behind, as the message says

  // The destination.
  DestinationState destination;
  uint8_t destination_agent;
  uint8_t destination_runs;
  uint8_t armed;
  uint8_t finished;  // disarmed, all pages in reach
  std::array<uint8_t, kPagesMax> content;
  Pages received;   // durable
  Pages claimed;    // in flight: the agent's memory
  Pages installed;  // the VMM's mapping
  Pages to_wake;
  std::array<Wait, kPagesMax> waits;

  // Between them.
  uint8_t link_up;
  uint8_t source_noticed;  // that the link is down
  uint8_t destination_noticed;
  std::array<Message, 4> to_destination;
  std::array<Message, 2> to_source;
  std::array<Lane, kLanes> lanes;
  Lane stray;  // of a lane that was given up too early (seeded bugs only)

  uint8_t failures_left;
  Violation violation;  // what the last step broke
};
static_assert(std::has_unique_object_representations_v<State>);

}  // namespace godwit::model
