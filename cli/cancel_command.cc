// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/dead_agent.h"
#include "cli/guest_access.h"
#include "engine/session/session_directory.h"

namespace godwit::cli {
namespace {

// The guest needs nothing of it; a source that comes back is not answered any more.
ExitCode forget(const SessionRecord& record) {
  const Status removed = remove_session(record.session, record.role);
  say(removed ? fmt::format("the guest is here, complete; session {} is gone", record.session)
              : to_string(removed.error()));
  return removed ? ExitCode::kCompleted : ExitCode::kFailed;
}

ExitCode cancel_dead(const SessionRecord& record) {
  if (has_completed(record)) return forget(record);
  Result<AfterDeath> outcome =
      settle_after_death(record, [](const std::string& guest) { return resume_guest(guest); });
  const char* role = to_string(record.role);
  if (!outcome) {
    say(fmt::format("the {} agent of session {} is dead, and what it left could not be settled: {}",
                    role, record.session, to_string(outcome.error())));
    return ExitCode::kFailed;
  }
  switch (*outcome) {
    case AfterDeath::kGuestRuns:
      say(fmt::format("the {} agent was dead; its guest runs here again", role));
      return ExitCode::kCompleted;
    case AfterDeath::kForgotten:
      say(fmt::format("the {} agent was dead; the session is gone", role));
      return ExitCode::kCompleted;
    case AfterDeath::kInDoubt:
      say(fmt::format(
          "the {} agent is dead, and the guest may belong to the other host: look there; "
          "docs/in-doubt.md says how to settle session {}",
          role, record.session));
      return ExitCode::kInDoubt;
  }
  return ExitCode::kFailed;
}

ExitCode cancel_side(const SessionRecord& record) {
  if (!is_running(record.agent)) return cancel_dead(record);
  Status asked = request_cancel(record);
  if (!asked) {
    say(to_string(asked.error()));
    return ExitCode::kFailed;
  }
  say(fmt::format("asked the {} agent (process {}) to stop", to_string(record.role),
                  record.agent.pid));
  return ExitCode::kCompleted;
}

ExitCode cancel(const std::string& session) {
  bool found = false;
  ExitCode exit_code = ExitCode::kCompleted;
  for (SessionRole role : {SessionRole::kSource, SessionRole::kDestination}) {
    Result<SessionRecord> record = read_session(session, role);
    if (!record && record.error().code == Errc::kRefused) continue;
    found = true;
    ExitCode outcome = ExitCode::kFailed;
    if (record) {
      outcome = cancel_side(*record);
    } else {
      say(to_string(record.error()));
    }
    if (outcome != ExitCode::kCompleted) exit_code = outcome;
  }
  if (found) return exit_code;
  say(fmt::format("this host has no session {}: see `godwit status`", session));
  return ExitCode::kFailed;
}

}  // namespace

void add_cancel_command(CLI::App& app, ExitCode& exit_code) {
  auto session = std::make_shared<std::string>();  // shared by the parser and the callback
  CLI::App* command =
      app.add_subcommand("cancel", "Stop a migration; the guest runs on the source");
  command->add_option("SESSION", *session, "As `godwit status` shows it")->required();
  command->footer(
      "The agent is asked to stop and says itself how it ended; once the guest is handed over it "
      "is\n"
      "too late. Where the agent is dead, what it left is settled instead: a guest that was not\n"
      "handed over is made to run again.\n"
      "\n"
      "Example: godwit cancel 00c0ffee00c0ffee");
  command->callback([session, &exit_code] { exit_code = cancel(*session); });
}

}  // namespace godwit::cli
