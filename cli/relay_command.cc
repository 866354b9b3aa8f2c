// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include <atomic>
#include <memory>
#include <string>

#include "cli/agent_metrics.h"
#include "cli/agent_options.h"
#include "cli/command.h"
#include "cli/console.h"
#include "cli/interrupt_watcher.h"
#include "cli/lane_rails.h"
#include "cli/peer_listener.h"
#include "cli/relay_ends.h"
#include "cli/relay_streams.h"
#include "transports/address/socket_address.h"
#include "vmm-adapters/linux/unix_stream.h"

namespace godwit::cli {
namespace {

constexpr char kRelayFooter[] =
    "Beside the QEMU or libvirt that the guest goes to:\n"
    "  godwit relay connect --unix /run/in.sock --listen 192.0.2.2:7472 --psk-file "
    "/etc/godwit.key\n"
    "  qemu-system-x86_64 … -incoming unix:/run/in.sock\n"
    "Beside the one that it leaves:\n"
    "  godwit relay listen --unix /run/out.sock --to 192.0.2.2:7472 --psk-file /etc/godwit.key\n"
    "  (QMP) migrate uri=unix:/run/out.sock\n"
    "\n"
    "Whatever is written into one socket comes out of the other, and back: any QEMU, any\n"
    "capability, several migrations at once. With `connect --qmp`, pages of shared guest memory "
    "are\n"
    "written straight into it, past the stream and the QEMU there; with `listen --qmp`, straight\n"
    "from that of the guest that leaves. With multifd on, both need --qmp for that. Ctrl-C breaks\n"
    "the streams that run, as a lost connection would.\n"
    "\n"
    "One `connect` serves any number of guests: {guest} in its --unix and --qmp stands for the "
    "name\n"
    "that `listen --guest` gives.\n"
    "\n"
    "Exit codes: 0 stopped; 1 with --once, a stream broke; 2 usage; 4 nothing was begun.";

// One after the other as far as the far socket, so that a VMM there sees its connections in the
// order in which they were made here.
Result<uint64_t> listen_and_send(const RelayCliOptions& options, InterruptWatcher& interrupts,
                                 RelayMetrics& metrics) {
  ASSIGN_OR_RETURN(ControlSecurity security, choose_security(options.agent, options.address));
  security.tls_hostname = options.tls_hostname;
  ASSIGN_OR_RETURN(const std::unique_ptr<UnixListener> listener,
                   UnixListener::listen(options.unix_path));
  RelayStreams streams(metrics, [&] {
    if (options.once) listener->shut_down();
  });
  interrupts.set_action([&] {
    listener->shut_down();
    streams.stop();
  });
  say(fmt::format("relays what is written into {} to {}, control connection: {}", options.unix_path,
                  options.address, describe_security(options.agent, security)));
  OutgoingStreams outgoing(options, security, interrupts.fd());
  uint64_t refused = 0;
  for (uint64_t number = 1;; ++number) {
    Result<UniqueFd> socket = listener->accept();
    if (!socket && socket.error().code == Errc::kCancelled) break;
    if (!socket) return tl::unexpected<Error>(socket.error());
    auto stream = outgoing.open(std::move(*socket), number);
    if (stream) {
      streams.start(std::move(*stream));
      continue;
    }
    say(fmt::format("stream {}: {}", number, to_string(stream.error())));
    metrics.stream_refused();
    ++refused;
    if (options.once) break;
  }
  interrupts.set_action({});
  return refused + streams.failures();
}

Result<uint64_t> receive_and_connect(const RelayCliOptions& options, InterruptWatcher& interrupts,
                                     RelayMetrics& metrics) {
  ASSIGN_OR_RETURN(const ControlSecurity security, choose_security(options.agent, options.address));
  if (!options.lane_listen.empty()) RETURN_IF_ERROR(parse_host_port(options.lane_listen));
  // What this host lacks is said now.
  ASSIGN_OR_RETURN(const LaneRails lanes, make_lane_rails(options.agent));
  if (!lanes.note.empty()) say(fmt::format("streams will come over TCP: {}", lanes.note));
  ASSIGN_OR_RETURN(const std::unique_ptr<ControlListener> listener,
                   listen_for_peers(options.address, security));
  std::atomic<uint32_t> migrations{0};
  RelayStreams streams(metrics, [&] {
    if (options.once) listener->shut_down();
  });
  interrupts.set_action([&] {
    listener->shut_down();
    streams.stop();
  });
  say(fmt::format(
      "waits for `godwit relay listen` on {} and passes on to {}, control connection: {}",
      listener->address(), options.unix_path, describe_security(options.agent, security)));
  for (uint64_t number = 1;; ++number) {
    Result<std::unique_ptr<ControlConnection>> control = listener->accept(Deadline::max());
    if (!control && control.error().code == Errc::kCancelled) break;
    if (!control) return tl::unexpected<Error>(control.error());
    auto stream = open_incoming_stream(std::move(*control), number, options, migrations);
    if (stream) {
      streams.start(std::move(*stream));
    } else {
      metrics.stream_refused();
      say(fmt::format("stream {}: {}", number, to_string(stream.error())));
    }
  }
  interrupts.set_action({});
  return streams.failures();
}

using Relay = Result<uint64_t> (*)(const RelayCliOptions& options, InterruptWatcher& interrupts,
                                   RelayMetrics& metrics);

ExitCode run_relay(const RelayCliOptions& options, Relay relay) {
  const auto interrupts = watch_interrupts(options.agent);
  if (!interrupts) return ExitCode::kRefused;
  RelayMetrics metrics;
  const auto metrics_server = serve_metrics(options.agent, [&] { return metrics.collect(); });
  const Result<uint64_t> failures = metrics_server ? relay(options, **interrupts, metrics)
                                                   : tl::unexpected<Error>(metrics_server.error());
  if (!failures) {
    say(to_string(failures.error()));
    return ExitCode::kRefused;
  }
  return options.once && *failures > 0 ? ExitCode::kFailed : ExitCode::kCompleted;
}

void add_common(CLI::App& command, RelayCliOptions& options, const char* unix_help) {
  command.add_option("--unix", options.unix_path, unix_help)->required()->type_name("PATH");
  add_peer_options(command, options.agent);
  add_metrics_option(command, options.agent);
  command.add_flag("--once", options.once,
                   "End when the streams of the first migration have ended");
}

}  // namespace

void add_relay_command(CLI::App& app, ExitCode& exit_code) {
  CLI::App* relay = app.add_subcommand(
      "relay", "Carry the migration stream of any QEMU, or of libvirt, from socket to socket");
  relay->require_subcommand(1);
  relay->footer(kRelayFooter);

  auto out = std::make_shared<RelayCliOptions>();  // shared by the parser and the callback
  CLI::App* listen = relay->add_subcommand("listen", "On the host that guests leave");
  listen->add_option("--to", out->address, "Where `godwit relay connect` listens")
      ->required()
      ->type_name("HOST:PORT");
  add_common(*listen, *out, "Socket to make, into which the source QEMU migrates");
  listen
      ->add_option("--qmp", out->qmp_path,
                   "A monitor of the source QEMU: pages are sent from its shared memory, or, in "
                   "post-copy, those that are asked for are read from it")
      ->type_name("PATH");
  listen
      ->add_option("--guest", out->guest,
                   "Whose stream it is, for a destination with {guest} in its paths")
      ->type_name("NAME");
  listen
      ->add_option("--tls-hostname", out->tls_hostname,
                   "The name in the other host's certificate, when it is not the one in --to")
      ->type_name("NAME");
  listen->callback([out, &exit_code] { exit_code = run_relay(*out, listen_and_send); });

  auto in = std::make_shared<RelayCliOptions>();
  CLI::App* connect = relay->add_subcommand("connect", "On the host that they go to");
  connect->add_option("--listen", in->address, "Where `godwit relay listen` will connect to")
      ->required()
      ->type_name("HOST:PORT");
  add_common(*connect, *in, "Socket at which the destination QEMU waits (-incoming unix:PATH)");
  connect
      ->add_option("--qmp", in->qmp_path,
                   "A monitor of the destination QEMU: pages are written into its shared memory")
      ->type_name("PATH");
  connect
      ->add_option("--limit", in->limit,
                   "Migrations that may come in at once (default: any number)")
      ->type_name("N");
  connect
      ->add_option("--lane-listen", in->lane_listen,
                   "Where the bytes arrive (default: where the source came in, any port)")
      ->type_name("HOST:PORT");
  connect->callback([in, &exit_code] { exit_code = run_relay(*in, receive_and_connect); });
}

}  // namespace godwit::cli
