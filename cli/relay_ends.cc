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
#include "vmm-adapters/qemu/relayed_multifd.h"

namespace godwit::cli {
namespace {

constexpr seconds kRelayConnectPatience{10};
// QEMU says what a stream is as soon as it has connected, a channel without anything to say never.
constexpr milliseconds kFirstBytesPatience{1000};
constexpr seconds kRelayQmpPatience{5};
// QEMU has connected them when it says something on its main channel. Each takes a few round trips
// to the other host.
constexpr seconds kChannelsPatience{20};

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
  struct Route {
    const RelayCliOptions& options;
    const ControlSecurity& security;
    int interrupt_fd;
  };

  explicit OutgoingStream(std::string name) : name_(std::move(name)) {}

  // Returns once the other side has somewhere to take it. `socket` is of any stream but a channel
  // of a migration whose pages are placed.
  Status open(UniqueFd socket, const Route& route) {
    const bool migration = is_migration(socket.get());
    if (migration && !route.options.qmp_path.empty())
      open_guest(route.options.qmp_path, socket.get());
    ASSIGN_OR_RETURN(stream_, make_unix_stream(std::move(socket)));
    RETURN_IF_ERROR(open_source(route, migration ? guest_content() : StreamContent::kBytes));
    if (multifd_ != nullptr && source_->blocks_in_reach().empty()) {
      hook_ = {};
      multifd_ = nullptr;
    }
    if (multifd_ != nullptr) RETURN_IF_ERROR(source_->open_page_lanes(multifd_->channels()));
    say_where(migration ? describe_pages() : "");
    return {};
  }

  // The same for such a channel.
  Status open_channel(UniqueFd socket, std::shared_ptr<qemu::RelayedMultifd> multifd,
                      const Route& route) {
    multifd_ = std::move(multifd);
    ASSIGN_OR_RETURN(stream_, multifd_->join(std::move(socket)));
    RETURN_IF_ERROR(open_source(route, StreamContent::kBytes));
    say_where(", what a multifd channel has besides placed pages");
    return {};
  }

  // Where channels are to join: of a migration that has multifd and whose pages are placed.
  const std::shared_ptr<qemu::RelayedMultifd>& multifd() const { return multifd_; }

  Result<relay::StreamTraffic> carry() override {
    if (multifd_ == nullptr) return source_->carry();
    Result<relay::StreamTraffic> traffic = carry_main_ ? carry_main() : source_->carry();
    if (!traffic) multifd_->interruption().raise(traffic.error());
    return traffic;
  }
  void stop() override {
    source_->stop();
    if (multifd_ != nullptr)
      multifd_->interruption().raise(fail(Errc::kCancelled, "stopped at the source").value());
  }
  std::string name() const override { return name_; }
  const relay::StreamCounters& counters() const override { return counters_; }

 private:
  void open_guest(const std::string& qmp_path, int socket) {
    Result<qemu::SourceRam> ram = qemu::open_source_ram(qmp_path, deadline_in(kRelayQmpPatience));
    const Status usable =
        ram ? qemu::check_channel_of(ram->ram, socket) : Status(tl::unexpected<Error>(ram.error()));
    if (!usable) {
      say(fmt::format("{}: pages are taken from the stream: {}", name_, to_string(usable.error())));
      return;
    }
    ram_ = std::move(*ram);
    if (ram_->multifd_channels == 0) return;
    const GuestMemory& memory = ram_->ram.memory();
    multifd_ = std::make_shared<qemu::RelayedMultifd>(memory.front().owner, ram_->multifd_channels,
                                                      memory);
    carry_main_ = true;
  }

  MakePageExtractor make_extractor() {
    if (multifd_ == nullptr) return qemu::make_page_extractor;
    return [multifd = multifd_](const std::vector<BlockDescription>& blocks) {
      return multifd->make_extractor(blocks);
    };
  }

  StreamContent guest_content() const {
    return multifd_ == nullptr ? StreamContent::kGuest : StreamContent::kGuestBesideChannels;
  }

  Status open_source(const Route& route, StreamContent content) {
    ASSIGN_OR_RETURN(rails_, make_lane_rails(route.options.agent));
    ASSIGN_OR_RETURN(const std::string session, new_session_id());
    ASSIGN_OR_RETURN(control_,
                     connect_control(route.options.address, route.security,
                                     deadline_in(kRelayConnectPatience), route.interrupt_fd));
    source_ = std::make_unique<relay::RelaySource>(
        relay::RelaySource::Parts{.stream = *stream_,
                                  .rails = rails_.rails,
                                  .control = *control_,
                                  .content = content,
                                  .make_extractor = content == StreamContent::kBytes
                                                        ? MakePageExtractor{}
                                                        : make_extractor(),
                                  .guest = memory_for(qemu::SourceRamUse::kSent),
                                  .requested = memory_for(qemu::SourceRamUse::kRequested)},
        session, relay_options(counters_, route.options.guest));
    if (multifd_ != nullptr) {
      hook_ = multifd_->interruption().on_raise([this] {
        source_->interruption().raise(
            fail(Errc::kPeerLost, "another connection of this migration broke").value());
      });
    }
    return source_->open();
  }

  // QEMU opens its channels before or while it begins to say something here.
  Result<relay::StreamTraffic> carry_main() {
    const auto channels = multifd_->wait_for_all(deadline_in(kChannelsPatience));
    if (channels) return source_->carry(*channels);
    source_->interruption().raise(channels.error());
    return source_->carry();
  }

  const GuestMemory* memory_for(qemu::SourceRamUse use) const {
    return ram_ && ram_->use == use ? &ram_->ram.memory() : nullptr;
  }

  void say_where(const std::string& what) const {
    say(fmt::format("{}: to {} over {}{}", name_, control_->peer_address(), source_->transport(),
                    what));
  }

  std::string describe_pages() const {
    if (memory_for(qemu::SourceRamUse::kRequested) != nullptr)
      return ", pages in the stream, in post-copy those asked for from memory";
    if (!source_->places_pages()) return fmt::format(", pages in the stream ({})", source_->note());
    if (multifd_ != nullptr)
      return fmt::format(", pages of {} multifd channels from memory to memory",
                         multifd_->channels());
    return ram_ ? ", pages from memory to memory" : ", pages into memory";
  }

  const std::string name_;
  relay::StreamCounters counters_;
  std::optional<qemu::SourceRam> ram_;
  std::shared_ptr<qemu::RelayedMultifd> multifd_;
  bool carry_main_ = false;  // of that, the main channel
  std::unique_ptr<VmmStream> stream_;
  LaneRails rails_;
  std::unique_ptr<ControlChannel> control_;
  std::unique_ptr<relay::RelaySource> source_;
  Interruption::Hook hook_;
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
    const bool migration = offer.content != StreamContent::kBytes;
    if (migration) RETURN_IF_ERROR(take_turn(options.limit));
    relay::StreamTarget target;
    Result<qemu::GuestRam> ram = fail(Errc::kRefused, "the destination's relay has no --qmp");
    if (migration && !qmp_path.empty())
      ram = qemu::open_destination_ram(qmp_path,
                                       offer.content == StreamContent::kGuestBesideChannels
                                           ? qemu::MultifdPages::kTaken
                                           : qemu::MultifdPages::kLeft,
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

OutgoingStreams::OutgoingStreams(const RelayCliOptions& options, const ControlSecurity& security,
                                 int interrupt_fd)
    : options_(options), security_(security), interrupt_fd_(interrupt_fd) {}

Result<std::unique_ptr<RelayStreams::Stream>> OutgoingStreams::open(UniqueFd socket,
                                                                    uint64_t number) {
  std::string name = fmt::format("stream {}", number);
  if (multifd_ != nullptr && peer_of(socket.get()) == multifd_->process() &&
      !is_migration(socket.get()))
    return open_channel(std::move(socket), std::move(name));
  auto stream = std::make_unique<OutgoingStream>(std::move(name));
  RETURN_IF_ERROR(stream->open(std::move(socket), {options_, security_, interrupt_fd_}));
  if (stream->multifd() != nullptr) {
    // QEMU runs one migration at a time.
    if (multifd_ != nullptr)
      multifd_->interruption().raise(
          fail(Errc::kGuest, "QEMU has begun another migration").value());
    multifd_ = stream->multifd();
  }
  return stream;
}

Result<std::unique_ptr<RelayStreams::Stream>> OutgoingStreams::open_channel(UniqueFd socket,
                                                                            std::string name) {
  auto stream = std::make_unique<OutgoingStream>(std::move(name));
  const Status opened =
      stream->open_channel(std::move(socket), multifd_, {options_, security_, interrupt_fd_});
  if (!opened) multifd_->interruption().raise(opened.error());
  if (!opened || multifd_->is_complete()) multifd_ = nullptr;
  RETURN_IF_ERROR(opened);
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
