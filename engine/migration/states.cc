// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/states.h"

#include "engine/base/check.h"

namespace godwit {

const char* to_string(SourceState state) {
  switch (state) {
    case SourceState::kConnecting:
      return "connecting";
    case SourceState::kNegotiating:
      return "negotiating";
    case SourceState::kConnectingLanes:
      return "connecting-lanes";
    case SourceState::kArming:
      return "arming";
    case SourceState::kPrecopy:
      return "precopy";
    case SourceState::kPausing:
      return "pausing";
    case SourceState::kFinalMemory:
      return "final-memory";
    case SourceState::kSavingState:
      return "saving-state";
    case SourceState::kVerifying:
      return "verifying";
    case SourceState::kAwaitingReady:
      return "awaiting-ready";
    case SourceState::kCommitted:
      return "committed";
    case SourceState::kCompleted:
      return "completed";
    case SourceState::kPostCopy:
      return "post-copy";
    case SourceState::kReconnecting:
      return "reconnecting";
    case SourceState::kFailed:
      return "failed";
    case SourceState::kInDoubt:
      return "in-doubt";
    case SourceState::kEnd:
      break;
  }
  CHECK(false && "a SourceState outside its enumerators");
}

const char* to_string(DestinationState state) {
  switch (state) {
    case DestinationState::kWaiting:
      return "waiting";
    case DestinationState::kNegotiating:
      return "negotiating";
    case DestinationState::kAcceptingLanes:
      return "accepting-lanes";
    case DestinationState::kReceiving:
      return "receiving";
    case DestinationState::kVerifying:
      return "verifying";
    case DestinationState::kLoadingState:
      return "loading-state";
    case DestinationState::kReady:
      return "ready";
    case DestinationState::kCommitted:
      return "committed";
    case DestinationState::kRunning:
      return "running";
    case DestinationState::kPostCopy:
      return "post-copy";
    case DestinationState::kReconnecting:
      return "reconnecting";
    case DestinationState::kCompleted:
      return "completed";
    case DestinationState::kFailed:
      return "failed";
    case DestinationState::kInDoubt:
      return "in-doubt";
    case DestinationState::kEnd:
      break;
  }
  CHECK(false && "a DestinationState outside its enumerators");
}

}  // namespace godwit
