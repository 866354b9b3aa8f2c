// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "cli/agent_options.h"
#include "cli/command.h"
#include "cli/console.h"
#include "cli/interrupt_watcher.h"
#include "cli/lane_rails.h"
#include "cli/relay_streams.h"
#include "cli/version.h"
#include "engine/relay/relay_destination.h"
#include "engine/relay/relay_source.h"
#include "engine/session/session_record.h"
#include "transports/address/socket_address.h"
#include "transports/control/control_connect.h"
#include "transports/control/control_listener.h"
#include "vmm-adapters/linux/unix_stream.h"
#include "vmm-adapters/qemu/channel_ram.h"
#include "vmm-adapters/qemu/qemu_page_extractor.h"

namespace godwit::cli {
namespace {

constexpr seconds kRelayConnectPatience{10};
// QEMU says what a stream is as soon as it has connected, a channel without anything to say never.
constexpr milliseconds kFirstBytesPatience{200};
constexpr seconds kRelayQmpPatience{2};

struct RelayCliOptions {
  AgentOptions agent;
  std::string unix_path;
  std::string qmp_path;
  std::string address;  // --to, --listen
  std::string lane_listen;
  std::string tls_hostname;
  bool once = false;
};

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
    "from that of the guest that leaves. Ctrl-C breaks the streams that run, as a lost connection\n"
    "would.\n"
    "\n"
    "Exit codes: 0 stopped; 1 with --once, a stream broke; 2 usage; 4 nothing was begun.";

relay::RelayOptions relay_options() {
  return {.software = kVersion};
}

bool is_migration(int socket) {
  std::array<std::byte, qemu::kMigrationMagicBytes> first{};
  const size_t size = peek(socket, first, deadline_in(kFirstBytesPatience));
  return qemu::begins_migration(std::span(first).first(size));
}

// A stream that goes out, with all that it needs.
class OutgoingStream final : public RelayStreams::Stream {
 public:
  // Returns once the other side has somewhere to take it.
  static Result<std::unique_ptr<OutgoingStream>> open(UniqueFd socket, uint64_t number,
                                                      const RelayCliOptions& options,
                                                      const ControlSecurity& security,
                                                      int interrupt_fd) {
    std::unique_ptr<OutgoingStream> made(new OutgoingStream);
    made->name_ = fmt::format("stream {}", number);
    const bool migration = is_migration(socket.get());
    if (migration && !options.qmp_path.empty()) made->open_guest(options.qmp_path, socket.get());
    ASSIGN_OR_RETURN(made->stream_, make_unix_stream(std::move(socket)));
    ASSIGN_OR_RETURN(made->rails_, make_lane_rails(options.agent));
    ASSIGN_OR_RETURN(const std::string session, new_session_id());
    ASSIGN_OR_RETURN(made->control_,
                     connect_control(options.address, security, deadline_in(kRelayConnectPatience),
                                     interrupt_fd));
    made->source_ = std::make_unique<relay::RelaySource>(
        relay::RelaySource::Parts{
            .stream = *made->stream_,
            .rails = made->rails_.rails,
            .control = *made->control_,
            .make_extractor = migration ? qemu::make_page_extractor : MakePageExtractor{},
            .guest = made->ram_ ? &made->ram_->memory() : nullptr},
        session, relay_options());
    RETURN_IF_ERROR(made->source_->open());
    say(fmt::format("{}: to {} over {}{}", made->name_, made->control_->peer_address(),
                    made->source_->transport(), migration ? made->describe_pages() : ""));
    return made;
  }

  Result<relay::StreamTraffic> carry() override { return source_->carry(); }
  void stop() override { source_->stop(); }
  std::string name() const override { return name_; }

 private:
  OutgoingStream() = default;

  void open_guest(const std::string& qmp_path, int socket) {
    Result<qemu::GuestRam> ram =
        qemu::open_channel_ram(qmp_path, qemu::Side::kSource, deadline_in(kRelayQmpPatience));
    const Status usable =
        ram ? qemu::check_channel_of(*ram, socket) : Status(tl::unexpected<Error>(ram.error()));
    if (usable) {
      ram_ = std::move(*ram);
    } else {
      say(fmt::format("{}: pages are taken from the stream: {}", name_, to_string(usable.error())));
    }
  }

  std::string describe_pages() const {
    if (source_->places_pages())
      return ram_ ? ", pages from memory to memory" : ", pages into memory";
    return fmt::format(", pages in the stream ({})", source_->note());
  }

  std::string name_;
  std::optional<qemu::GuestRam> ram_;
  std::unique_ptr<VmmStream> stream_;
  LaneRails rails_;
  std::unique_ptr<ControlChannel> control_;
  std::unique_ptr<relay::RelaySource> source_;
};

// One that comes in.
class IncomingStream final : public RelayStreams::Stream {
 public:
  static Result<std::unique_ptr<IncomingStream>> open(std::unique_ptr<ControlConnection> control,
                                                      uint64_t number,
                                                      const RelayCliOptions& options) {
    std::unique_ptr<IncomingStream> made(new IncomingStream);
    made->name_ = fmt::format("stream {} from {}", number, control->peer_address());
    made->control_ = std::move(control);
    ASSIGN_OR_RETURN(made->rails_, make_lane_rails(options.agent));
    set_listen_addresses(made->rails_, options.lane_listen, made->control_->local_address());
    made->destination_ = std::make_unique<relay::RelayDestination>(
        relay::RelayDestination::Parts{
            .connect = [&incoming = *made, options](
                           StreamContent content) { return incoming.connect(content, options); },
            .rails = made->rails_.rails,
            .control = *made->control_},
        relay_options());
    return made;
  }

  Result<relay::StreamTraffic> carry() override { return destination_->run(); }
  void stop() override { destination_->stop(); }
  std::string name() const override { return name_; }

 private:
  IncomingStream() = default;

  // The monitor is asked first: QEMU may not answer while it waits for a connection's first bytes.
  Result<relay::StreamTarget> connect(StreamContent content, const RelayCliOptions& options) {
    relay::StreamTarget target;
    Result<qemu::GuestRam> ram = fail(Errc::kRefused, "the destination's relay has no --qmp");
    if (content == StreamContent::kGuest && !options.qmp_path.empty())
      ram = qemu::open_channel_ram(options.qmp_path, qemu::Side::kDestination,
                                   deadline_in(kRelayQmpPatience));
    ASSIGN_OR_RETURN(UniqueFd socket, connect_unix(options.unix_path));
    Status usable = ram ? qemu::check_channel_of(*ram, socket.get())
                        : Status(tl::unexpected<Error>(ram.error()));
    ASSIGN_OR_RETURN(target.stream, make_unix_stream(std::move(socket)));
    if (usable) {
      ram_ = std::move(*ram);
      target.guest = ram_->memory();
    } else {
      target.note = to_string(usable.error());
    }
    return target;
  }

  std::string name_;
  std::optional<qemu::GuestRam> ram_;
  std::unique_ptr<ControlConnection> control_;
  LaneRails rails_;
  std::unique_ptr<relay::RelayDestination> destination_;
};

// One after the other as far as the far socket, so that a VMM there sees its connections in the
// order in which they were made here.
Result<uint64_t> listen_and_send(const RelayCliOptions& options, InterruptWatcher& interrupts) {
  ASSIGN_OR_RETURN(ControlSecurity security, choose_security(options.agent, options.address));
  security.tls_hostname = options.tls_hostname;
  ASSIGN_OR_RETURN(const std::unique_ptr<UnixListener> listener,
                   UnixListener::listen(options.unix_path));
  RelayStreams streams([&] {
    if (options.once) listener->shut_down();
  });
  interrupts.set_action([&] {
    listener->shut_down();
    streams.stop();
  });
  say(fmt::format("relays what is written into {} to {}, control connection: {}", options.unix_path,
                  options.address, describe_security(options.agent, security)));
  uint64_t refused = 0;
  for (uint64_t number = 1;; ++number) {
    Result<UniqueFd> socket = listener->accept();
    if (!socket && socket.error().code == Errc::kCancelled) break;
    if (!socket) return tl::unexpected<Error>(socket.error());
    auto stream =
        OutgoingStream::open(std::move(*socket), number, options, security, interrupts.fd());
    if (stream) {
      streams.start(std::move(*stream));
      continue;
    }
    say(fmt::format("stream {}: {}", number, to_string(stream.error())));
    ++refused;
    if (options.once) break;
  }
  interrupts.set_action({});
  return refused + streams.failures();
}

Result<uint64_t> receive_and_connect(const RelayCliOptions& options, InterruptWatcher& interrupts) {
  ASSIGN_OR_RETURN(const ControlSecurity security, choose_security(options.agent, options.address));
  if (!options.lane_listen.empty()) RETURN_IF_ERROR(parse_host_port(options.lane_listen));
  // What this host lacks is said now.
  ASSIGN_OR_RETURN(const LaneRails lanes, make_lane_rails(options.agent));
  if (!lanes.note.empty()) say(fmt::format("streams will come over TCP: {}", lanes.note));
  auto tell_rejection = [](std::string_view reason) {
    say(fmt::format("turned away: {}", reason));
  };
  ASSIGN_OR_RETURN(
      const std::unique_ptr<ControlListener> listener,
      ControlListener::listen(options.address, security, {.on_rejection = tell_rejection}));
  RelayStreams streams([&] {
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
    auto stream = IncomingStream::open(std::move(*control), number, options);
    if (stream) {
      streams.start(std::move(*stream));
    } else {
      say(fmt::format("stream {}: {}", number, to_string(stream.error())));
    }
  }
  interrupts.set_action({});
  return streams.failures();
}

using Relay = Result<uint64_t> (*)(const RelayCliOptions& options, InterruptWatcher& interrupts);

ExitCode run_relay(const RelayCliOptions& options, Relay relay) {
  block_interrupt_signals();
  Result<std::unique_ptr<InterruptWatcher>> interrupts = InterruptWatcher::start();
  if (!interrupts) {
    say(to_string(interrupts.error()));
    return ExitCode::kRefused;
  }
  if (options.agent.insecure) say("--insecure: neither encrypted nor authenticated");
  const Result<uint64_t> failures = relay(options, **interrupts);
  if (!failures) {
    say(to_string(failures.error()));
    return ExitCode::kRefused;
  }
  return options.once && *failures > 0 ? ExitCode::kFailed : ExitCode::kCompleted;
}

void add_common(CLI::App& command, RelayCliOptions& options, const char* unix_help) {
  command.add_option("--unix", options.unix_path, unix_help)->required()->type_name("PATH");
  add_peer_options(command, options.agent);
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
                   "A monitor of the source QEMU: pages are sent from its shared memory")
      ->type_name("PATH");
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
      ->add_option("--lane-listen", in->lane_listen,
                   "Where the bytes arrive (default: where the source came in, any port)")
      ->type_name("HOST:PORT");
  connect->callback([in, &exit_code] { exit_code = run_relay(*in, receive_and_connect); });
}

}  // namespace godwit::cli
