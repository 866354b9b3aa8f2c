// SPDX-License-Identifier: Apache-2.0
//
// What one side of a session says about itself, and its text form: one `name=value` per line, the
// first line saying the version and the last that nothing is missing. Plain enough for a shell.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/report.h"
#include "engine/session/process_identity.h"

namespace godwit {

enum class SessionRole : uint8_t { kSource = 1, kDestination = 2 };

// "source", "destination": also the folder's name.
const char* to_string(SessionRole role);

// A session's name is 16 lower-case hex characters. Peers send it too, and it becomes part of a
// path: check first.
Result<std::string> new_session_id();
bool is_session_id(std::string_view text);

struct SessionRecord {
  std::string session;
  SessionRole role = SessionRole::kSource;
  ProcessIdentity agent;
  std::string state;
  std::string peer;
  std::string guest;  // how the agent reaches the guest, for whoever has to after its death
  bool committed = false;
  bool started = false;  // of the destination in post-copy: the guest has run here
  Progress progress;     // as of at most a second ago
};

std::string encode_session_record(const SessionRecord& record);

// Errors: kCorrupt for anything that encode_session_record() did not write. Unknown names are
// skipped: a later version may have more.
Result<SessionRecord> parse_session_record(std::string_view text);

}  // namespace godwit
