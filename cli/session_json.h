// SPDX-License-Identifier: Apache-2.0
//
// The sessions of this host as JSON and as a table, for `godwit status`.
#pragma once

#include <string>
#include <vector>

#include "engine/session/session_record.h"

namespace godwit::cli {

enum class AgentState : uint8_t { kRunning = 1, kDead = 2 };

struct SessionView {
  SessionRecord record;
  AgentState agent;
  bool resumable = false;  // `godwit resume` has what it needs, should the agent die
};

std::string render_sessions_json(const std::vector<SessionView>& sessions);
std::string render_sessions_table(const std::vector<SessionView>& sessions);

}  // namespace godwit::cli
