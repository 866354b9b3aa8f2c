// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/dead_agent.h"
#include "cli/own_command.h"
#include "engine/session/session_directory.h"

namespace godwit::cli {
namespace {

// The side of the session on this host whose agent is dead.
Result<SessionRecord> find_dead_side(const std::string& session,
                                     const std::optional<SessionRole>& wanted) {
  std::optional<SessionRecord> running;
  for (SessionRole role : {SessionRole::kSource, SessionRole::kDestination}) {
    if (wanted && *wanted != role) continue;
    const Result<SessionRecord> record = read_session(session, role);
    if (!record && record.error().code == Errc::kRefused) continue;
    if (!record) return tl::unexpected<Error>(record.error());
    if (!is_running(record->agent)) return *record;
    running = *record;
  }
  if (running) {
    return fail(Errc::kRefused, "the {} agent of session {} is running (process {})",
                to_string(running->role), session, running->agent.pid);
  }
  return fail(Errc::kRefused, "this host has no session {}: see `godwit status`", session);
}

ExitCode resume(const std::string& session, const std::string& role) {
  std::optional<SessionRole> wanted;
  if (role == "source") wanted = SessionRole::kSource;
  if (role == "destination") wanted = SessionRole::kDestination;
  const Result<SessionRecord> record = find_dead_side(session, wanted);
  if (!record) {
    say(to_string(record.error()));
    return ExitCode::kRefused;
  }
  // A destination that was ready waits for the source's word, which may have been on its way.
  const bool waits = record->role == SessionRole::kDestination && may_have_said_ready(*record);
  if (!record->committed && !waits) {
    say(
        fmt::format("the guest of session {} was not handed over: there is nothing to resume. It "
                    "is the source's; `godwit cancel {}` settles what is left",
                    session, session));
    return ExitCode::kRefused;
  }
  Result<std::vector<std::string>> command = read_command(session, record->role);
  if (!command) {
    say(to_string(command.error()));
    return ExitCode::kRefused;
  }
  command->push_back("--resume-session");
  command->push_back(session);
  say(to_string(become(*command).error()));
  return ExitCode::kFailed;
}

}  // namespace

void add_resume_command(CLI::App& app, ExitCode& exit_code) {
  struct Settings {
    std::string session;
    std::string role;
  };
  auto settings = std::make_shared<Settings>();  // shared by the parser and the callback
  CLI::App* command =
      app.add_subcommand("resume", "Start the agent of a session again that died in post-copy");
  command->add_option("SESSION", settings->session, "As `godwit status` shows it")->required();
  command
      ->add_option("--role", settings->role,
                   "Which side, where both are on this host (default: the one whose agent is dead)")
      ->check(CLI::IsMember({"source", "destination"}));
  command->footer(
      "While its agent is dead the guest goes on with the memory that has come, and waits where "
      "it\n"
      "touches what has not. The new agent has the options of the one that died, and goes on "
      "where\n"
      "that one was.\n"
      "\n"
      "Example: godwit resume 00c0ffee00c0ffee\n"
      "\n"
      "Exit codes: those of the agent (send, receive); 4 when there is nothing to resume.");
  command->callback(
      [settings, &exit_code] { exit_code = resume(settings->session, settings->role); });
}

}  // namespace godwit::cli
