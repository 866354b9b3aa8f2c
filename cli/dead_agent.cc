// SPDX-License-Identifier: Apache-2.0
#include "cli/dead_agent.h"

#include "engine/migration/states.h"
#include "engine/session/session_directory.h"

namespace godwit::cli {

bool may_have_said_ready(const SessionRecord& record) {
  if (record.committed) return true;
  for (DestinationState state :
       {DestinationState::kReady, DestinationState::kCommitted, DestinationState::kRunning,
        DestinationState::kPostCopy, DestinationState::kReconnecting, DestinationState::kCompleted,
        DestinationState::kInDoubt}) {
    if (record.state == to_string(state)) return true;
  }
  return false;
}

bool has_completed(const SessionRecord& record) {
  return record.role == SessionRole::kDestination && record.committed &&
         record.state == to_string(DestinationState::kCompleted);
}

Result<AfterDeath> settle_after_death(const SessionRecord& record,
                                      const ResumeGuest& resume_guest) {
  if (record.role == SessionRole::kDestination) {
    if (may_have_said_ready(record)) return AfterDeath::kInDoubt;
    RETURN_IF_ERROR(remove_session(record.session, record.role));
    return AfterDeath::kForgotten;
  }
  if (record.committed) return AfterDeath::kInDoubt;
  RETURN_IF_ERROR(resume_guest(record.guest));
  RETURN_IF_ERROR(remove_session(record.session, record.role));
  return AfterDeath::kGuestRuns;
}

}  // namespace godwit::cli
