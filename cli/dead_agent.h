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

// Requires: the agent is dead.
// Errors: those of `resume_guest`; the session stays then.
Result<AfterDeath> settle_after_death(const SessionRecord& record, const ResumeGuest& resume_guest);

}  // namespace godwit::cli
