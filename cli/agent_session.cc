// SPDX-License-Identifier: Apache-2.0
#include "cli/agent_session.h"

#include <csignal>
#include <utility>

#include "cli/console.h"

namespace godwit::cli {

AgentSession::AgentSession(Options options, const Watchers& watchers, ProgressDisplay& display)
    : options_(std::move(options)), watchers_(watchers), display_(display) {}

Status AgentSession::open(const std::string& session) {
  ASSIGN_OR_RETURN(directory_, SessionDirectory::create(session, options_.role, options_.parties));
  begin(session);
  return {};
}

Status AgentSession::take_over(const std::string& session) {
  ASSIGN_OR_RETURN(directory_, SessionDirectory::take_over(session, options_.role));
  begin(session);
  return {};
}

void AgentSession::begin(const std::string& session) {
  watchers_.guardian.watch_over(session);
  watchers_.metrics.set_session(session, options_.parties.peer);
}

void AgentSession::conclude(MigrationReport& report) {
  report.timeline = timeline_.timeline();
  display_.clear();
  if (directory_ == nullptr) return;
  if (report.status == MigrationStatus::kInDoubt) {
    directory_->keep();
  } else if (report.post_copy && report.post_copy->source_waits) {
    directory_->keep_word();
  } else {
    directory_->settle();
  }
  directory_.reset();
}

void AgentSession::on_state(std::string_view state) {
  timeline_.enter(state);
  if (directory_ == nullptr && options_.session_name) {
    std::string session = options_.session_name();
    Status opened = session.empty() ? Status() : open(session);
    if (!opened) {
      display_.clear();
      say(to_string(opened.error()));
      options_.give_up();
    }
  }
  watchers_.metrics.set_state(state);
  if (directory_ != nullptr) tolerate(directory_->set_state(state));
  if (state == options_.test_hold) std::raise(SIGSTOP);
}

void AgentSession::on_progress(const Progress& progress) {
  display_.show(progress);
  timeline_.add(progress);
  watchers_.metrics.set_progress(progress);
  if (directory_ != nullptr) tolerate(directory_->update_progress(progress));
}

Status AgentSession::record_commit() {
  if (directory_ == nullptr)
    return fail(Errc::kSystem, "there is no session to record a commit in");
  return directory_->record_commit();
}

Status AgentSession::record_return() {
  return directory_->record_return();
}

Status AgentSession::record_started() {
  return directory_->record_started();
}

Status AgentSession::record_recovery(const std::string& guest) {
  if (directory_ == nullptr) return fail(Errc::kSystem, "there is no session to keep a record in");
  RETURN_IF_ERROR(directory_->keep_command(options_.command));
  return directory_->record_recovery(guest);
}

Result<std::vector<postcopy::ReceivedWords>> AgentSession::received_pages(
    const GuestMemory& memory) {
  if (directory_ == nullptr) return fail(Errc::kSystem, "there is no session to keep a record in");
  return directory_->received_pages(memory);
}

// What others can see of a migration is worth less than the migration.
void AgentSession::tolerate(const Status& written) {
  if (written || complained_) return;
  complained_ = true;
  display_.clear();
  say(fmt::format("`godwit status` will be out of date: {}", to_string(written.error())));
}

}  // namespace godwit::cli
