// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/session_json.h"
#include "engine/session/session_directory.h"

namespace godwit::cli {
namespace {

enum class Rendering : uint8_t { kTable = 1, kJson = 2 };

ExitCode show_status(const std::string& session, Rendering rendering) {
  Result<std::vector<SessionRecord>> records = list_sessions();
  if (!records) {
    say(to_string(records.error()));
    return ExitCode::kFailed;
  }
  std::vector<SessionView> views;
  for (SessionRecord& record : *records) {
    if (!session.empty() && record.session != session) continue;
    AgentState agent = is_running(record.agent) ? AgentState::kRunning : AgentState::kDead;
    const bool resumable = is_resumable(record.session, record.role);
    views.push_back({std::move(record), agent, resumable});
  }
  if (!session.empty() && views.empty()) {
    say(fmt::format("this host has no session {}", session));
    return ExitCode::kFailed;
  }
  write_stdout(rendering == Rendering::kJson ? render_sessions_json(views)
                                             : render_sessions_table(views));
  return ExitCode::kCompleted;
}

}  // namespace

void add_status_command(CLI::App& app, ExitCode& exit_code) {
  struct Settings {
    std::string session;
    bool json = false;
  };
  auto settings = std::make_shared<Settings>();  // shared by the parser and the callback
  CLI::App* command = app.add_subcommand("status", "Show the migrations of this host");
  command->add_option("SESSION", settings->session, "Only this one");
  command->add_flag("--json", settings->json, "As JSON, see docs/json.md");
  command->footer(
      "A session whose agent is dead and that is committed is in doubt: the guest belongs to the\n"
      "destination, but nobody here knows whether it runs there.");
  command->callback([settings, &exit_code] {
    exit_code =
        show_status(settings->session, settings->json ? Rendering::kJson : Rendering::kTable);
  });
}

}  // namespace godwit::cli
