// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include <memory>
#include <string>

#include "cli/agent_metrics.h"
#include "cli/agent_options.h"
#include "cli/agent_session.h"
#include "cli/command.h"
#include "cli/console.h"
#include "cli/control_reconnectors.h"
#include "cli/dead_agent.h"
#include "cli/guest_access.h"
#include "cli/interrupt_watcher.h"
#include "cli/lane_rails.h"
#include "cli/own_command.h"
#include "cli/peer_listener.h"
#include "cli/report_output.h"
#include "cli/version.h"
#include "engine/channel/channel_destination.h"
#include "engine/migration/destination_migration.h"
#include "engine/migration/resume.h"
#include "transports/address/socket_address.h"
#include "transports/control/control_listener.h"
#include "vmm-adapters/qemu/qemu_recovery.h"

namespace godwit::cli {
namespace {

struct ReceiveOptions {
  AgentOptions agent;
  std::string listen;
  std::string lane_listen;
  std::string resume_listen;  // where the agent that died was found
  std::string mode = "auto";
  bool verify = false;
};

struct Outcome {
  MigrationReport report;
  std::string peer;
};

// A source that is turned away comes again within two seconds.
constexpr char kSettlingTime[] = "5s";

constexpr char kFooter[] =
    "QEMU has to be waiting: started with the same machine and memory as the source's, and\n"
    "`-incoming defer`. One guest is received, then the program ends.\n"
    "\n"
    "Examples:\n"
    "  godwit receive --qmp /run/guest.qmp --listen 0.0.0.0:7471 --psk-file /etc/godwit.key\n"
    "  godwit receive --qmp /run/guest.qmp --listen 127.0.0.1:7471\n"
    "\n"
    "Exit codes: 0 the guest runs here; 1 failed, it runs on the source; 2 usage; 3 the outcome "
    "is\n"
    "in doubt (docs/in-doubt.md), or post-copy is not finished (godwit resume); 4 refused before\n"
    "anything was touched.";

struct FirstConnection {
  std::unique_ptr<ControlConnection> control;
  std::string listen_address;  // with the port that was really bound
};

Result<FirstConnection> await_source(const ReceiveOptions& options, const ControlSecurity& security,
                                     InterruptWatcher& interrupts) {
  ASSIGN_OR_RETURN(std::unique_ptr<ControlListener> listener,
                   listen_for_peers(options.listen, security));
  say(fmt::format("waiting for `godwit send` on {}, control connection: {}", listener->address(),
                  describe_security(options.agent, security)));
  interrupts.set_action([&] { listener->shut_down(); });
  Result<std::unique_ptr<ControlConnection>> connection = listener->accept(Deadline::max());
  interrupts.set_action({});
  if (!connection) return tl::unexpected<Error>(connection.error());
  return FirstConnection{std::move(*connection), listener->address()};
}

struct Attempt {
  MigrationReport report;
  std::string came_back_for;  // DestinationMigration::came_back_for()
};

Result<Attempt> migrate(const ReceiveOptions& options, LaneRails& lanes, DestinationGuest& guest,
                        const ControlSecurity& security, const FirstConnection& first,
                        InterruptWatcher& interrupts, const Watchers& watchers) {
  ControlConnection& control = *first.control;
  set_listen_addresses(lanes, options.lane_listen, control.local_address());
  ASSIGN_OR_RETURN(std::vector<std::string> command, own_command());
  command.insert(command.end(), {"--resume-listen", control.local_address()});
  DestinationOptions destination_options;
  destination_options.software = kVersion;
  destination_options.verification = options.verify ? Verification::kOn : Verification::kOff;
  ASSIGN_OR_RETURN(destination_options.reconnect_for, reconnect_time(options.agent));

  ProgressDisplay display(style_of_stderr(), write_stderr);
  DestinationMigration* running = nullptr;
  AgentSession agent({.role = SessionRole::kDestination,
                      .test_hold = options.agent.test_hold,
                      .session_name = [&] { return running->session(); },
                      .give_up = [&] { running->cancel(); },
                      .parties = {control.peer_address(), options.agent.qmp},
                      .command = std::move(command)},
                     watchers, display);
  DestinationReconnector reconnector(first.listen_address, security);
  DestinationMigration migration({guest, lanes.rails, control, agent, agent, &reconnector},
                                 destination_options);
  running = &migration;
  interrupts.set_action([&] {
    migration.cancel();
    reconnector.stop();
  });
  MigrationReport report = migration.run();
  interrupts.set_action({});
  agent.conclude(report);
  if (report.transport_note.empty()) report.transport_note = lanes.note;
  return Attempt{std::move(report), migration.came_back_for()};
}

// Of an agent that takes the place of the dead one that left `before`.
AgentSession::Options in_place_of(const SessionRecord& before, const ReceiveOptions& options) {
  return {.role = SessionRole::kDestination,
          .test_hold = options.agent.test_hold,
          .session_name = {},
          .give_up = {},
          .parties = {before.peer, options.agent.qmp},
          .command = {}};
}

Result<DestinationOptions> options_in_place(const ReceiveOptions& options) {
  DestinationOptions result;
  result.software = kVersion;
  ASSIGN_OR_RETURN(result.reconnect_for, reconnect_time(options.agent));
  return result;
}

// In place of an agent that had fetched everything, and could not tell its source.
Result<Outcome> tell_source(const ReceiveOptions& options, const SessionRecord& before,
                            InterruptWatcher& interrupts, const Watchers& watchers) {
  const std::string& session = options.agent.resume_session;
  ASSIGN_OR_RETURN(ControlSecurity security, choose_security(options.agent, options.listen));
  ASSIGN_OR_RETURN(const DestinationOptions destination_options, options_in_place(options));
  ProgressDisplay display(style_of_stderr(), write_stderr);
  AgentSession agent(in_place_of(before, options), watchers, display);
  RETURN_IF_ERROR(agent.take_over(session));
  DestinationReconnector reconnector(options.resume_listen, security);
  say(fmt::format("session {}: all memory is here; waits for its source on {} to tell it", session,
                  options.resume_listen));
  interrupts.set_action([&] { reconnector.stop(); });
  MigrationReport report = resume_farewell(agent, reconnector, destination_options, session);
  interrupts.set_action({});
  agent.conclude(report);
  report.security = describe_security(options.agent, security);
  return Outcome{std::move(report), before.peer};
}

// A source that came to this address for a guest of before. It comes again in a moment; where that
// guest is here as a whole, it is told so then.
void settle_with(const std::string& session, ReceiveOptions options, InterruptWatcher& interrupts,
                 const Watchers& watchers) {
  const Result<SessionRecord> before = read_session(session, SessionRole::kDestination);
  if (!before || !has_completed(*before) || is_running(before->agent)) return;
  options.agent.resume_session = session;
  options.agent.reconnect_for = kSettlingTime;
  const Result<Outcome> told = tell_source(options, *before, interrupts, watchers);
  if (!told) say(to_string(told.error()));
}

Result<Outcome> receive_guest(const ReceiveOptions& options, InterruptWatcher& interrupts,
                              const Watchers& watchers) {
  ASSIGN_OR_RETURN(ControlSecurity security, choose_security(options.agent, options.listen));
  if (!options.lane_listen.empty()) RETURN_IF_ERROR(parse_host_port(options.lane_listen));
  // What this host lacks is said now, and what takes its time is done before a guest waits for it.
  ASSIGN_OR_RETURN(LaneRails lanes, make_lane_rails(options.agent));
  if (!lanes.note.empty()) say(fmt::format("pages will come over TCP: {}", lanes.note));
  ASSIGN_OR_RETURN(std::unique_ptr<DestinationGuest> guest, open_destination_guest(options.agent));
  ReceiveOptions again = options;
  while (true) {
    ASSIGN_OR_RETURN(const FirstConnection first, await_source(again, security, interrupts));
    const std::string peer = first.control->peer_address();
    say(fmt::format("{} is here", peer));
    ASSIGN_OR_RETURN(Attempt attempt,
                     migrate(options, lanes, *guest, security, first, interrupts, watchers));
    if (attempt.came_back_for.empty()) {
      attempt.report.security = describe_security(options.agent, security);
      return Outcome{std::move(attempt.report), peer};
    }
    say(fmt::format("turned away: {} came back for session {}", peer, attempt.came_back_for));
    again.listen = again.resume_listen = first.listen_address;
    settle_with(attempt.came_back_for, again, interrupts, watchers);
  }
}

// QEMU takes the guest by itself, through us.
Result<Outcome> receive_by_channel(const ReceiveOptions& options, InterruptWatcher& interrupts,
                                   const Watchers& watchers) {
  if (options.verify) return fail(Errc::kRefused, "--verify needs --mode direct");
  ASSIGN_OR_RETURN(ControlSecurity security, choose_security(options.agent, options.listen));
  if (!options.lane_listen.empty()) RETURN_IF_ERROR(parse_host_port(options.lane_listen));
  ASSIGN_OR_RETURN(LaneRails lanes, make_lane_rails(options.agent));
  if (!lanes.note.empty()) say(fmt::format("pages will come over TCP: {}", lanes.note));
  ASSIGN_OR_RETURN(const auto guest, open_channel_destination(options.agent));
  ASSIGN_OR_RETURN(const FirstConnection first, await_source(options, security, interrupts));
  ControlConnection& control = *first.control;
  const std::string peer = control.peer_address();
  say(fmt::format("{} is here", peer));
  set_listen_addresses(lanes, options.lane_listen, control.local_address());
  ASSIGN_OR_RETURN(const std::vector<std::string> command, own_command());
  ProgressDisplay display(style_of_stderr(), write_stderr);
  ChannelDestination* running = nullptr;
  AgentSession agent({.role = SessionRole::kDestination,
                      .test_hold = options.agent.test_hold,
                      .session_name = [&] { return running->session(); },
                      .give_up = [&] { running->cancel(); },
                      .parties = {peer, options.agent.qmp},
                      .command = command},
                     watchers, display);
  ChannelDestination migration({*guest, lanes.rails, control, agent, agent},
                               {.session = {}, .software = kVersion});
  running = &migration;
  interrupts.set_action([&] { migration.cancel(); });
  MigrationReport report = migration.run();
  interrupts.set_action({});
  agent.conclude(report);
  report.security = describe_security(options.agent, security);
  if (report.transport_note.empty()) report.transport_note = lanes.note;
  return Outcome{std::move(report), peer};
}

// In place of an agent that died after it had taken the guest over.
Result<Outcome> fetch_again(const ReceiveOptions& options, InterruptWatcher& interrupts,
                            const Watchers& watchers) {
  const std::string& session = options.agent.resume_session;
  ASSIGN_OR_RETURN(const SessionRecord before, read_session(session, SessionRole::kDestination));
  if (has_completed(before)) return tell_source(options, before, interrupts, watchers);
  ASSIGN_OR_RETURN(ControlSecurity security, choose_security(options.agent, options.listen));
  ASSIGN_OR_RETURN(LaneRails lanes, make_lane_rails(options.agent));
  set_listen_addresses(lanes, options.lane_listen, options.resume_listen);
  ASSIGN_OR_RETURN(const std::string record, read_recovery(session, SessionRole::kDestination));
  ASSIGN_OR_RETURN(const DestinationOptions destination_options, options_in_place(options));

  ProgressDisplay display(style_of_stderr(), write_stderr);
  AgentSession agent(in_place_of(before, options), watchers, display);
  RETURN_IF_ERROR(agent.take_over(session));
  ASSIGN_OR_RETURN(
      const auto guest,
      RecoveredQemuDestination::open(record, [&agent](const GuestMemory& memory) -> Result<bool> {
        ASSIGN_OR_RETURN(const auto words, agent.received_pages(memory));
        return postcopy::all_received(words);
      }));
  DestinationReconnector reconnector(options.resume_listen, security);
  say(fmt::format("session {}: waits for its source on {} again", session, options.resume_listen));
  interrupts.set_action([&] { reconnector.stop(); });
  MigrationReport report =
      resume_destination({guest->memory(), guest->page_faults(), before.committed, before.started,
                          [&guest] { return guest->ensure_running(deadline_in(seconds(10))); },
                          lanes.rails, agent, agent, reconnector},
                         destination_options, session);
  interrupts.set_action({});
  agent.conclude(report);
  report.security = describe_security(options.agent, security);
  return Outcome{std::move(report), before.peer};
}

ExitCode receive(const ReceiveOptions& options) {
  block_interrupt_signals();
  Result<ReportOutput> output = ReportOutput::open(options.agent);
  if (!output) {
    say(to_string(output.error()));
    return ExitCode::kRefused;
  }
  // Before the first thread.
  Result<std::unique_ptr<Guardian>> guardian =
      Guardian::start(SessionRole::kDestination, resume_guest);
  Result<std::unique_ptr<InterruptWatcher>> interrupts = InterruptWatcher::start();
  if (!guardian || !interrupts) {
    say(to_string(guardian ? interrupts.error() : guardian.error()));
    return ExitCode::kFailed;
  }
  MigrationMetrics metrics(SessionRole::kDestination);
  const auto metrics_server = serve_metrics(options.agent, [&] { return metrics.collect(); });
  if (options.agent.insecure) {
    say("--insecure: anybody who reaches this address can put a guest into this QEMU");
  }

  const auto take_guest = !options.agent.resume_session.empty() ? fetch_again
                          : options.mode == "channel"           ? receive_by_channel
                                                                : receive_guest;
  Result<Outcome> ended = metrics_server ? take_guest(options, **interrupts, {**guardian, metrics})
                                         : tl::unexpected<Error>(metrics_server.error());
  Outcome outcome = ended.value_or(Outcome());
  if (!ended) {
    outcome.report.status = status_of(ended.error());
    outcome.report.error = ended.error();
  }
  outcome.report.insecure = options.agent.insecure;
  if (outcome.report.mode.empty())
    outcome.report.mode = options.mode == "channel" ? "channel" : "direct";
  return output->write({outcome.report, SessionRole::kDestination, outcome.peer});
}

}  // namespace

void add_receive_command(CLI::App& app, ExitCode& exit_code) {
  auto options = std::make_shared<ReceiveOptions>();  // shared by the parser and the callback
  CLI::App* command = app.add_subcommand("receive", "Wait for a guest from another host");
  command->add_option("--listen", options->listen, "Where `godwit send` will connect to")
      ->required()
      ->type_name("HOST:PORT");
  add_agent_options(*command, options->agent);
  add_metrics_option(*command, options->agent);
  command
      ->add_option("--lane-listen", options->lane_listen,
                   "Where the pages arrive (default: where the source came in, any port)")
      ->type_name("HOST:PORT");
  command->add_option("--mode", options->mode, "As the source's: direct, channel; auto: direct")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "direct", "channel"}));
  command->add_option("--resume-listen", options->resume_listen)->group("");
  command->add_flag("--verify", options->verify,
                    "Take the guest only from a source that was told --verify as well");
  command->footer(kFooter);
  command->callback([options, &exit_code] { exit_code = receive(*options); });
}

}  // namespace godwit::cli
