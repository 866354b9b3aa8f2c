// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include <algorithm>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/agent_metrics.h"
#include "cli/agent_options.h"
#include "cli/agent_session.h"
#include "cli/command.h"
#include "cli/console.h"
#include "cli/control_reconnectors.h"
#include "cli/guest_access.h"
#include "cli/interrupt_watcher.h"
#include "cli/lane_rails.h"
#include "cli/option_check.h"
#include "cli/own_command.h"
#include "cli/report_output.h"
#include "cli/units.h"
#include "cli/version.h"
#include "engine/channel/channel_source.h"
#include "engine/migration/resume.h"
#include "engine/migration/source_migration.h"
#include "engine/migration/states.h"
#include "transports/control/control_connect.h"
#include "vmm-adapters/qemu/qemu_recovery.h"

namespace godwit::cli {
namespace {

constexpr seconds kConnectPatience{10};
constexpr seconds kFarewellPatience{5};

struct SendOptions {
  AgentOptions agent;
  std::string to;
  std::string tls_hostname;
  std::string mode = "auto";
  std::string post_copy = "never";
  std::string downtime_limit = "300ms";
  std::string bandwidth_limit;
  uint32_t lanes = 0;
  bool verify = false;
  bool test_no_quiesce = false;
};

constexpr char kFooter[] =
    "Start `godwit receive` on the other host first. On any failure before the guest is handed "
    "over\n"
    "it runs on here; Ctrl-C is such a failure.\n"
    "\n"
    "Examples:\n"
    "  godwit send --qmp /run/guest.qmp --to host-b:7471 --psk-file /etc/godwit.key\n"
    "  godwit send --qmp /run/guest.qmp --to host-b:7471 --tls-dir /etc/pki/qemu \\\n"
    "              --downtime-limit 30ms --bandwidth-limit 10Gbit --verify --json report.json\n"
    "\n"
    "Exit codes: 0 the guest runs there; 1 failed, it runs on here; 2 usage; 3 the outcome is in\n"
    "doubt (docs/in-doubt.md), or post-copy is not finished (godwit resume); 4 refused before\n"
    "anything was touched.";

PostCopy post_copy_of(const SendOptions& options) {
  if (options.post_copy == "now") return PostCopy::kNow;
  return options.post_copy == "auto" ? PostCopy::kAuto : PostCopy::kNever;
}

Result<SourceOptions> make_source_options(const SendOptions& options, const std::string& session) {
  SourceOptions result;
  result.session = session;
  result.software = kVersion;
  result.lanes = options.lanes;
  ASSIGN_OR_RETURN(Clock::duration downtime, parse_duration(options.downtime_limit));
  result.limits.downtime_s_max = to_seconds(downtime);
  if (!options.bandwidth_limit.empty()) {
    ASSIGN_OR_RETURN(result.bandwidth_limit_bytes_per_s, parse_rate(options.bandwidth_limit));
  }
  result.post_copy = post_copy_of(options);
  ASSIGN_OR_RETURN(result.reconnect_for, reconnect_time(options.agent));
  result.verification = options.verify ? Verification::kOn : Verification::kOff;
  result.quiescing = options.test_no_quiesce ? Quiescing::kOff : Quiescing::kOn;
  return result;
}

// `command` starts this agent again; empty for one that was.
AgentSession::Options as_source(const SendOptions& options, std::vector<std::string> command) {
  return {.role = SessionRole::kSource,
          .test_hold = options.agent.test_hold,
          .session_name = {},
          .give_up = {},
          .parties = {options.to, options.agent.qmp},
          .command = std::move(command)};
}

Status begin_session(AgentSession& agent, const std::string& session, const SendOptions& options,
                     const ControlSecurity& security) {
  RETURN_IF_ERROR(agent.open(session));
  say(fmt::format("session {}: to {}, control connection: {}", session, options.to,
                  describe_security(options.agent, security)));
  return {};
}

Result<MigrationReport> migrate(const SendOptions& options, InterruptWatcher& interrupts,
                                const Watchers& watchers) {
  ASSIGN_OR_RETURN(ControlSecurity security, choose_security(options.agent, options.to));
  security.tls_hostname = options.tls_hostname;
  ASSIGN_OR_RETURN(std::string session, new_session_id());
  ASSIGN_OR_RETURN(const std::vector<std::string> command, own_command());
  ASSIGN_OR_RETURN(SourceOptions source_options, make_source_options(options, session));
  // At once, since both take their time: the one loads drivers, the other waits for QEMU's answers.
  std::future<Result<LaneRails>> opening =
      std::async(std::launch::async, [&] { return make_lane_rails(options.agent); });
  Result<std::unique_ptr<SourceGuest>> guest = open_source_guest(options.agent);
  ASSIGN_OR_RETURN(LaneRails lanes, opening.get());
  RETURN_IF_ERROR(guest);
  ASSIGN_OR_RETURN(
      std::unique_ptr<ControlChannel> control,
      connect_control(options.to, security, deadline_in(kConnectPatience), interrupts.fd()));

  ProgressDisplay display(style_of_stderr(), write_stderr);
  AgentSession agent(as_source(options, command), watchers, display);
  RETURN_IF_ERROR(begin_session(agent, session, options, security));

  ASSIGN_OR_RETURN(const auto reconnector, SourceReconnector::make(options.to, security));
  SourceMigration migration(
      {**guest, lanes.rails, lanes.topology, *control, agent, agent, reconnector.get()},
      source_options);
  interrupts.set_action([&] {
    migration.cancel();
    reconnector->stop();
  });
  MigrationReport report = migration.run();
  interrupts.set_action({});
  agent.conclude(report);
  report.security = describe_security(options.agent, security);
  if (report.transport_note.empty()) report.transport_note = lanes.note;
  return report;
}

// What only a migration that we run ourselves has.
Status check_channel_options(const SendOptions& options) {
  if (options.verify) return fail(Errc::kRefused, "--verify needs --mode direct");
  if (options.lanes > relay::kPageLanesMax)
    return fail(Errc::kRefused, "--mode channel has at most {} --lanes", relay::kPageLanesMax);
  return {};
}

// One lane is that of QEMU's stream, whose pages need no channels beside it then.
std::optional<size_t> page_channels(uint32_t lanes) {
  if (lanes == 0) return std::nullopt;
  return lanes == 1 ? 0 : lanes;
}

// QEMU migrates the guest by itself, through us.
Result<MigrationReport> migrate_by_channel(const SendOptions& options, InterruptWatcher& interrupts,
                                           const Watchers& watchers) {
  RETURN_IF_ERROR(check_channel_options(options));
  ASSIGN_OR_RETURN(ControlSecurity security, choose_security(options.agent, options.to));
  security.tls_hostname = options.tls_hostname;
  ASSIGN_OR_RETURN(const std::string session, new_session_id());
  ASSIGN_OR_RETURN(const std::vector<std::string> command, own_command());
  ChannelLimits limits{};
  ASSIGN_OR_RETURN(limits.downtime, parse_duration(options.downtime_limit));
  if (!options.bandwidth_limit.empty()) {
    ASSIGN_OR_RETURN(limits.bandwidth_bytes_per_s, parse_rate(options.bandwidth_limit));
  }
  ASSIGN_OR_RETURN(const LaneRails lanes, make_lane_rails(options.agent));
  ASSIGN_OR_RETURN(
      const auto guest,
      open_channel_source(options.agent, limits, [&watchers](int socket, KeptUntil until) {
        watchers.guardian.keep_open(socket, until);
      }));
  ASSIGN_OR_RETURN(
      std::unique_ptr<ControlChannel> control,
      connect_control(options.to, security, deadline_in(kConnectPatience), interrupts.fd()));
  ProgressDisplay display(style_of_stderr(), write_stderr);
  AgentSession agent(as_source(options, command), watchers, display);
  RETURN_IF_ERROR(begin_session(agent, session, options, security));
  ChannelSource migration({*guest, lanes.rails, *control, agent, agent},
                          {.session = session,
                           .software = kVersion,
                           .page_channels = page_channels(options.lanes),
                           .post_copy = post_copy_of(options)});
  interrupts.set_action([&] { migration.cancel(); });
  MigrationReport report = migration.run();
  interrupts.set_action({});
  agent.conclude(report);
  report.security = describe_security(options.agent, security);
  if (report.transport_note.empty()) report.transport_note = lanes.note;
  return report;
}

// In place of an agent that died after it had handed the guest over.
Result<MigrationReport> serve_again(const SendOptions& options, InterruptWatcher& interrupts,
                                    const Watchers& watchers) {
  const std::string& session = options.agent.resume_session;
  ASSIGN_OR_RETURN(ControlSecurity security, choose_security(options.agent, options.to));
  security.tls_hostname = options.tls_hostname;
  ASSIGN_OR_RETURN(SourceOptions source_options, make_source_options(options, session));
  ASSIGN_OR_RETURN(const SessionRecord before, read_session(session, SessionRole::kSource));
  // Then the destination has everything, and may have ended or wait to hear that we know.
  const bool completed = before.state == to_string(SourceState::kCompleted);
  if (completed)
    source_options.reconnect_for =
        std::min<Clock::duration>(source_options.reconnect_for, kFarewellPatience);
  ASSIGN_OR_RETURN(LaneRails lanes, make_lane_rails(options.agent));
  ASSIGN_OR_RETURN(const std::string record, read_recovery(session, SessionRole::kSource));
  ASSIGN_OR_RETURN(const auto guest, RecoveredQemuSource::open(record));

  ProgressDisplay display(style_of_stderr(), write_stderr);
  AgentSession agent(as_source(options, {}), watchers, display);
  RETURN_IF_ERROR(agent.take_over(session));
  say(fmt::format("session {}: serves its memory to {} again", session, options.to));
  ASSIGN_OR_RETURN(const auto reconnector, SourceReconnector::make(options.to, security));
  interrupts.set_action([&] { reconnector->stop(); });
  MigrationReport report =
      resume_source({guest->memory(), lanes.rails, agent, *reconnector}, source_options);
  interrupts.set_action({});
  if (completed && report.status == MigrationStatus::kInDoubt) {
    report.status = MigrationStatus::kCompleted;
    report.error.reset();
  }
  agent.conclude(report);
  report.security = describe_security(options.agent, security);
  return report;
}

ExitCode send(const SendOptions& options) {
  block_interrupt_signals();
  Result<ReportOutput> output = ReportOutput::open(options.agent);
  if (!output) {
    say(to_string(output.error()));
    return ExitCode::kRefused;
  }
  // Before the first thread.
  Result<std::unique_ptr<Guardian>> guardian = Guardian::start(SessionRole::kSource, resume_guest);
  Result<std::unique_ptr<InterruptWatcher>> interrupts = InterruptWatcher::start();
  if (!guardian || !interrupts) {
    say(to_string(guardian ? interrupts.error() : guardian.error()));
    return ExitCode::kFailed;
  }
  MigrationMetrics metrics(SessionRole::kSource);
  const auto metrics_server = serve_metrics(options.agent, [&] { return metrics.collect(); });
  if (options.agent.insecure) {
    say("--insecure: neither encrypted nor authenticated; anybody on the way can read and change "
        "it");
  }

  const auto move_guest = !options.agent.resume_session.empty() ? serve_again
                          : options.mode == "channel"           ? migrate_by_channel
                                                                : migrate;
  Result<MigrationReport> ended = metrics_server
                                      ? move_guest(options, **interrupts, {**guardian, metrics})
                                      : tl::unexpected<Error>(metrics_server.error());
  MigrationReport report = ended.value_or(MigrationReport());
  if (!ended) {
    report.status = status_of(ended.error());
    report.error = ended.error();
  }
  report.insecure = options.agent.insecure;
  if (report.mode.empty()) report.mode = options.mode == "channel" ? "channel" : "direct";
  return output->write({report, SessionRole::kSource, options.to});
}

void add_tuning_options(CLI::App& command, SendOptions& options) {
  command
      .add_option("--downtime-limit", options.downtime_limit,
                  "How long the guest may stand still at the end, e.g. 30ms")
      ->capture_default_str()
      ->check(understood_by(parse_duration, "DURATION"));
  command
      .add_option("--bandwidth-limit", options.bandwidth_limit,
                  "What the pages may take of the link, e.g. 10Gbit or 1.5GB/s")
      ->check(understood_by(parse_rate, "RATE"));
  command
      .add_option("--lanes", options.lanes,
                  "Connections that carry pages (default: by the CPUs); in channel mode, more than "
                  "one: multifd channels of QEMU's (docs/channel.md)")
      ->check(CLI::Range(1U, kLanesMax))
      ->type_name("N");
  command.add_flag("--verify", options.verify,
                   "Hash all of guest memory on both sides before the hand-over, and compare");
  command
      .add_option("--mode", options.mode,
                  "direct: shared guest memory, moved past QEMU; channel: QEMU migrates by itself, "
                  "through us; auto: direct")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "direct", "channel"}));
  command
      .add_option("--post-copy", options.post_copy,
                  "Run the guest there before all its memory is: when rounds do not end (auto), at "
                  "once, or "
                  "never, since it needs both hosts until all is there (docs/post-copy.md); in "
                  "channel mode, QEMU's own (docs/channel.md)")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "now", "never"}));
  command.add_flag("--test-no-quiesce", options.test_no_quiesce)->group("");
}

}  // namespace

void add_send_command(CLI::App& app, ExitCode& exit_code) {
  auto options = std::make_shared<SendOptions>();  // shared by the parser and the callback
  CLI::App* command = app.add_subcommand("send", "Move a guest of this host to another one");
  command->add_option("--to", options->to, "Where `godwit receive` listens")
      ->required()
      ->type_name("HOST:PORT");
  add_agent_options(*command, options->agent);
  add_metrics_option(*command, options->agent);
  command
      ->add_option("--tls-hostname", options->tls_hostname,
                   "The name in the other host's certificate, when it is not the one in --to")
      ->type_name("NAME");
  add_tuning_options(*command, *options);
  command->footer(kFooter);
  command->callback([options, &exit_code] { exit_code = send(*options); });
}

}  // namespace godwit::cli
