// SPDX-License-Identifier: Apache-2.0
#include "cli/relay_ends.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "cli/console.h"
#include "cli/lane_rails.h"
#include "cli/version.h"
#include "engine/relay/relay_destination.h"
#include "engine/relay/relay_source.h"
#include "engine/session/session_record.h"
#include "transports/control/control_connect.h"
#include "vmm-adapters/linux/unix_stream.h"
#include "vmm-adapters/qemu/channel_ram.h"
#include "vmm-adapters/qemu/qemu_page_extractor.h"
#include "vmm-adapters/qemu/qemu_page_requests.h"

namespace godwit::cli {
namespace {

constexpr seconds kRelayConnectPatience{10};
// QEMU says what a stream is as soon as it has connected, a channel without anything to say never.
constexpr milliseconds kFirstBytesPatience{1000};
constexpr seconds kRelayQmpPatience{5};

relay::RelayOptions relay_options(relay::StreamCounters& counters, const std::string& guest = {}) {
  return {.software = kVersion, .guest = guest, .counters = &counters};
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
            .guest = made->memory_for(qemu::SourceRamUse::kSent),
            .requested = made->memory_for(qemu::SourceRamUse::kRequested)},
        session, relay_options(made->counters_, options.guest));
    RETURN_IF_ERROR(made->source_->open());
    say(fmt::format("{}: to {} over {}{}", made->name_, made->control_->peer_address(),
                    made->source_->transport(), migration ? made->describe_pages() : ""));
    return made;
  }

  Result<relay::StreamTraffic> carry() override { return source_->carry(); }
  void stop() override { source_->stop(); }
  std::string name() const override { return name_; }
  const relay::StreamCounters& counters() const override { return counters_; }

 private:
  OutgoingStream() = default;

  void open_guest(const std::string& qmp_path, int socket) {
    Result<qemu::SourceRam> ram = qemu::open_source_ram(qmp_path, deadline_in(kRelayQmpPatience));
    const Status usable =
        ram ? qemu::check_channel_of(ram->ram, socket) : Status(tl::unexpected<Error>(ram.error()));
    if (usable) {
      ram_ = std::move(*ram);
    } else {
      say(fmt::format("{}: pages are taken from the stream: {}", name_, to_string(usable.error())));
    }
  }

  const GuestMemory* memory_for(qemu::SourceRamUse use) const {
    return ram_ && ram_->use == use ? &ram_->ram.memory() : nullptr;
  }

  std::string describe_pages() const {
    if (memory_for(qemu::SourceRamUse::kRequested) != nullptr)
      return ", pages in the stream, in post-copy those asked for from memory";
    if (source_->places_pages())
      return ram_ ? ", pages from memory to memory" : ", pages into memory";
    return fmt::format(", pages in the stream ({})", source_->note());
  }

  std::string name_;
  relay::StreamCounters counters_;
  std::optional<qemu::SourceRam> ram_;
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
                                                      const RelayCliOptions& options,
                                                      std::atomic<uint32_t>& migrations) {
    std::unique_ptr<IncomingStream> made(new IncomingStream(migrations));
    made->name_ = fmt::format("stream {} from {}", number, control->peer_address());
    made->control_ = std::move(control);
    ASSIGN_OR_RETURN(made->rails_, make_lane_rails(options.agent));
    set_listen_addresses(made->rails_, options.lane_listen, made->control_->local_address());
    made->destination_ = std::make_unique<relay::RelayDestination>(
        relay::RelayDestination::Parts{
            .connect = [&incoming = *made, &options](
                           const OpenStream& offer) { return incoming.connect(offer, options); },
            .rails = made->rails_.rails,
            .control = *made->control_,
            .make_requests = qemu::make_page_requests},
        relay_options(made->counters_));
    return made;
  }

  Result<relay::StreamTraffic> carry() override { return destination_->run(); }
  void stop() override { destination_->stop(); }
  std::string name() const override { return name_; }
  const relay::StreamCounters& counters() const override { return counters_; }

  ~IncomingStream() override {
    if (counted_) --migrations_;
  }

 private:
  explicit IncomingStream(std::atomic<uint32_t>& migrations) : migrations_(migrations) {}

  Status take_turn(uint32_t limit) {
    counted_ = true;
    const uint32_t running = ++migrations_;
    if (limit == 0 || running <= limit) return {};
    return fail(Errc::kRefused, "{} migrations come in already (--limit)", limit);
  }

  // The monitor is asked first: QEMU may not answer while it waits for a connection's first bytes.
  Result<relay::StreamTarget> connect(const OpenStream& offer, const RelayCliOptions& options) {
    ASSIGN_OR_RETURN(const std::string unix_path, path_for_guest(options.unix_path, offer.guest));
    ASSIGN_OR_RETURN(const std::string qmp_path, path_for_guest(options.qmp_path, offer.guest));
    const bool migration = offer.content == StreamContent::kGuest;
    if (migration) RETURN_IF_ERROR(take_turn(options.limit));
    relay::StreamTarget target;
    Result<qemu::GuestRam> ram = fail(Errc::kRefused, "the destination's relay has no --qmp");
    if (migration && !qmp_path.empty())
      ram = qemu::open_channel_ram(qmp_path, qemu::Side::kDestination,
                                   deadline_in(kRelayQmpPatience));
    ASSIGN_OR_RETURN(UniqueFd socket, connect_unix(unix_path));
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

  std::atomic<uint32_t>& migrations_;
  bool counted_ = false;
  std::string name_;
  relay::StreamCounters counters_;
  std::optional<qemu::GuestRam> ram_;
  std::unique_ptr<ControlConnection> control_;
  LaneRails rails_;
  std::unique_ptr<relay::RelayDestination> destination_;
};

}  // namespace

Result<std::unique_ptr<RelayStreams::Stream>> open_outgoing_stream(UniqueFd socket, uint64_t number,
                                                                   const RelayCliOptions& options,
                                                                   const ControlSecurity& security,
                                                                   int interrupt_fd) {
  ASSIGN_OR_RETURN(
      std::unique_ptr<RelayStreams::Stream> stream,
      OutgoingStream::open(std::move(socket), number, options, security, interrupt_fd));
  return stream;
}

Result<std::unique_ptr<RelayStreams::Stream>> open_incoming_stream(
    std::unique_ptr<ControlConnection> control, uint64_t number, const RelayCliOptions& options,
    std::atomic<uint32_t>& migrations) {
  ASSIGN_OR_RETURN(std::unique_ptr<RelayStreams::Stream> stream,
                   IncomingStream::open(std::move(control), number, options, migrations));
  return stream;
}

Result<std::string> path_for_guest(const std::string& path, const std::string& guest) {
  const size_t place = path.find(kGuestPlace);
  if (place == std::string::npos) return path;
  const auto fits = [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
           (letter >= '0' && letter <= '9') || letter == '-' || letter == '_' || letter == '.';
  };
  if (guest.empty() || guest.front() == '.' || !std::ranges::all_of(guest, fits))
    return fail(Errc::kRefused,
                "which guest it is for has to be said by `godwit relay listen --guest NAME`, in "
                "letters, digits, '-', '_' and '.': '{}' is no such name",
                guest);
  std::string named = path;
  return named.replace(place, std::string_view(kGuestPlace).size(), guest);
}

}  // namespace godwit::cli
