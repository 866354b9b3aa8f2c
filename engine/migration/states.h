// SPDX-License-Identifier: Apache-2.0
//
// The states of a migration on each side, and who owns the guest in them.
//
//   source owns, guest runs    connecting .. precopy
//   source owns, guest paused  pausing .. awaiting-ready    any failure: the source resumes it
//   destination owns           committed ..                 the source never resumes it again
//
// In post-copy the source goes on holding memory for a guest that is not its own any more.
//
// The destination owns the guest from the moment it receives the commit.
#pragma once

#include <cstdint>

namespace godwit {

enum class SourceState : uint8_t {
  kConnecting = 1,   // nothing sent yet
  kNegotiating,      // layout and identity compared; the destination may refuse
  kConnectingLanes,  // lanes prove that they belong to the session
  kArming,           // write protection goes up; writes in flight land
  kPrecopy,          // rounds; micro-pauses for the scans
  kPausing,          // the last scan decided: the guest stays paused
  kFinalMemory,      // what that scan found is sent
  kSavingState,      // device state, and the memory that saving it wrote
  kVerifying,        // --verify only
  kAwaitingReady,    // the destination loads
  kCommitted,        // decision written down and sent
  kPostCopy,         // the guest runs there, and its memory is partly here
  kReconnecting,     // the same, with the connection lost
  kCompleted,        // the guest runs on the destination
  kFailed,           // the guest runs on the source
  kInDoubt,          // committed, but no answer came: only the destination may run it
  kEnd,              // not a state
};

enum class DestinationState : uint8_t {
  kWaiting = 1,  // connected, nothing said yet
  kNegotiating,
  kAcceptingLanes,
  kReceiving,     // memory and device state arrive
  kVerifying,     // --verify only
  kLoadingState,  // all memory is in place and out of the peer's reach
  kReady,         // could start at once; waits for the source's decision
  kCommitted,     // this side owns the guest
  kRunning,
  kPostCopy,      // the guest runs here, and its memory is partly there
  kReconnecting,  // the same, with the connection lost
  kCompleted,     // all memory is here
  kFailed,        // before the commit: the guest is the source's
  kInDoubt,       // ready, but the decision never came: only the source knows it
  kEnd,           // not a state
};

const char* to_string(SourceState state);
const char* to_string(DestinationState state);

}  // namespace godwit
