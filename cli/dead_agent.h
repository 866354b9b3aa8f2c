// SPDX-License-Identifier: Apache-2.0
//
// What has to be done about a session whose agent died. The session's file says who owns the guest:
//
//   source, not committed       this side does: make the guest run, forget the session
//   source, committed           the destination does, or will: leave everything as it is
//   destination, before ready   the source does: forget the session
//   destination, from ready on  only the source knows: leave everything as it is
#pragma once

#include <functional>
#include <string>

#include "engine/base/result.h"
#include "engine/session/session_record.h"

namespace godwit::cli {

enum class AfterDeath : uint8_t {
  kGuestRuns = 1,  // here, again
  kForgotten,      // there was nothing of value here
  kInDoubt,        // the session stays
};

// Makes the guest that is reached by this name (SessionRecord::guest) run again.
using ResumeGuest = std::function<Status(const std::string& guest)>;

// Whether the destination may have told the source that it could start at once: from then on only
// the source knows whose the guest is.
bool may_have_said_ready(const SessionRecord& record);

// Whether the destination had all memory, and only had to tell the source.
bool has_completed(const SessionRecord& record);

// Requires: the agent is dead.
// Errors: those of `resume_guest`; the session stays then.
Result<AfterDeath> settle_after_death(const SessionRecord& record, const ResumeGuest& resume_guest);

}  // namespace godwit::cli
