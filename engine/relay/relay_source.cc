// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/relay_source.h"

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/thread_priority.h"
#include "engine/migration/rail_ends.h"
#include "engine/relay/lane_word.h"
#include "engine/relay/splice_stream.h"
#include "engine/relay/stream_receiver.h"
#include "engine/relay/stream_sender.h"
#include "engine/relay/stream_session.h"
#include "engine/wire/describe.h"

namespace godwit::relay {
namespace {

// The destination connects to a socket of its own host meanwhile.
constexpr Clock::duration kOpenMax = seconds(30);
// A rail that works is connected within milliseconds.
constexpr Clock::duration kConnectMax = seconds(2);

// Lets the other end read, where the transport takes a thread for that, until it is destroyed. That
// the lane is lost, the other end says.
class ReadService {
 public:
  explicit ReadService(Endpoint& endpoint)
      : endpoint_(endpoint), thread_([&endpoint] { serve(endpoint); }) {}
  ~ReadService() { endpoint_.shut_down(); }
  ReadService(const ReadService&) = delete;
  ReadService& operator=(const ReadService&) = delete;

 private:
  static void serve(Endpoint& endpoint) {
    (void)make_this_thread_urgent();
    std::array<std::byte, kLaneMessageBytesMax> message;
    while (true) {
      const Result<size_t> size = endpoint.receive(message, deadline_in(kLanePatience));
      if (!size && size.error().code != Errc::kTimeout) return;
    }
  }

  Endpoint& endpoint_;
  std::jthread thread_;
};

}  // namespace

RelaySource::RelaySource(const Parts& parts, std::string session, RelayOptions options)
    : parts_(parts), session_(std::move(session)), options_(std::move(options)) {}

RelaySource::~RelaySource() = default;

void RelaySource::stop() {
  interruption_.raise(fail(Errc::kCancelled, "stopped at the source").value());
}

Status RelaySource::open() {
  link_ = std::make_unique<ControlLink>(parts_.control, interruption_, options_.peer_timeout);
  const Deadline deadline = deadline_in(options_.peer_timeout);
  RETURN_IF_ERROR(link_->send(Hello{.protocol_version = kProtocolVersion,
                                    .software = options_.software,
                                    .session = session_,
                                    .role = Role::kSource,
                                    .purpose = options_.purpose}));
  ASSIGN_OR_RETURN(const Hello hello, link_->expect<Hello>(deadline));
  if (hello.protocol_version != kProtocolVersion)
    return fail(Errc::kRefused,
                "protocol versions differ: the destination ({}) speaks {}, we speak {}",
                hello.software, hello.protocol_version, kProtocolVersion);
  OpenStream message;
  message.content = parts_.content;
  message.guest = options_.guest;
  RETURN_IF_ERROR(register_rings(message));
  RETURN_IF_ERROR(link_->send(message));
  if (parts_.requested != nullptr) RETURN_IF_ERROR(link_->send(describe_requested()));
  ASSIGN_OR_RETURN(const StreamOpened opened, link_->expect<StreamOpened>(deadline_in(kOpenMax)));
  RETURN_IF_ERROR(connect(opened));
  note_ = opened.note;
  blocks_ = opened.blocks;
  if (blocks_.empty() || !parts_.make_extractor) return {};
  extractor_ = parts_.make_extractor(blocks_);
  places_pages_ = extractor_->note().empty();
  if (!places_pages_) note_ = extractor_->note();
  return add_placing_rail(rail_);
}

Status RelaySource::register_rings(OpenStream& message) {
  ASSIGN_OR_RETURN(outgoing_ring_, StreamRing::make(kRingThereBytes + kStagingBytes));
  ASSIGN_OR_RETURN(incoming_ring_, StreamRing::make(kRingBackBytes));
  for (const Rail& rail : parts_.rails) {
    RailRings rings;
    ASSIGN_OR_RETURN(rings.outgoing,
                     rail.transport->register_memory(outgoing_ring_->bytes(), RemoteAccess::kNone));
    ASSIGN_OR_RETURN(rings.incoming, rail.transport->register_memory(incoming_ring_->bytes(),
                                                                     RemoteAccess::kWrite));
    ServedRail served{.transport = rail.transport->capabilities().name,
                      .regions = {rings.incoming->describe()}};
    RETURN_IF_ERROR(register_requested(rail, rings, served));
    message.rails.push_back(std::move(served));
    rings_.push_back(std::move(rings));
  }
  return {};
}

Status RelaySource::register_requested(const Rail& rail, RailRings& rings,
                                       ServedRail& served) const {
  if (parts_.requested == nullptr) return {};
  for (const GuestBlock& block : *parts_.requested) {
    ASSIGN_OR_RETURN(std::unique_ptr<MemoryRegion> region,
                     rail.transport->register_memory(block.memory, RemoteAccess::kRead));
    served.regions.push_back(region->describe());
    rings.requested.push_back(std::move(region));
  }
  return {};
}

// The blocks that a rail's regions after the first are of.
Offer RelaySource::describe_requested() const {
  Offer message;
  message.rails = describe(parts_.rails);
  message.blocks = describe(*parts_.requested);
  return message;
}

// By the first rail that works.
Status RelaySource::connect(const StreamOpened& opened) {
  std::optional<Error> last;
  rails_there_ = opened.rails;
  ends_ = choose_rail_ends(parts_.rails, rails_there_);
  for (rail_ = 0; rail_ < ends_.size(); ++rail_) {
    if (ends_[rail_] == kNoRailEnd) continue;
    const AcceptedRail& there = rails_there_[ends_[rail_]];
    RETURN_IF_ERROR(check_regions(there, opened.blocks));
    const Status connected = connect_lanes(rail_, there.address);
    if (connected) {
      transport_ = there.transport;
      return {};
    }
    last = connected.error();
    RETURN_IF_ERROR(interruption_.check());
  }
  if (last) return tl::unexpected<Error>(*last);
  return fail(Errc::kRefused, "the destination has none of our rails");
}

Status RelaySource::check_regions(const AcceptedRail& rail,
                                  const std::vector<BlockDescription>& blocks) {
  if (rail.regions.size() != 1 + blocks.size())
    return fail(Errc::kCorrupt, "the destination has {} regions for {} RAM blocks and a ring",
                rail.regions.size(), blocks.size());
  if (rail.regions[0].size_bytes != kRingThereBytes)
    return fail(Errc::kCorrupt, "the destination has no ring of the right size");
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (rail.regions[1 + i].size_bytes != blocks[i].size_bytes)
      return fail(Errc::kCorrupt, "the destination's RAM block '{}' has two sizes", blocks[i].name);
  }
  return {};
}

Status RelaySource::add_placing_rail(size_t rail) {
  ASSIGN_OR_RETURN(
      PlacingRail made,
      PlacingRail::make(parts_.rails[rail], rails_there_[ends_[rail]], blocks_, parts_.guest));
  placing_rails_.push_back(std::make_unique<PlacingRail>(std::move(made)));
  return {};
}

Status RelaySource::connect_lanes(size_t rail, const std::string& address) {
  ASSIGN_OR_RETURN(outgoing_, connect_lane(rail, address, lane_number(rail, StreamLane::kThere)));
  ASSIGN_OR_RETURN(incoming_, connect_lane(rail, address, lane_number(rail, StreamLane::kBack)));
  if (parts_.requested == nullptr) return {};
  ASSIGN_OR_RETURN(read_from_, connect_lane(rail, address, lane_number(rail, StreamLane::kRead)));
  return {};
}

Result<std::unique_ptr<Endpoint>> RelaySource::connect_lane(size_t rail, const std::string& address,
                                                            uint32_t lane) {
  ASSIGN_OR_RETURN(const auto token, parts_.control.lane_token(lane));
  return parts_.rails[rail].transport->connect(address, {token, lane}, deadline_in(kConnectMax));
}

std::vector<BlockDescription> RelaySource::blocks_in_reach() const {
  return places_pages_ && placing_rails_[0]->reaches_all() ? blocks_
                                                           : std::vector<BlockDescription>();
}

Status RelaySource::open_page_lanes(size_t count) {
  CHECK(count <= kPageLanesMax && page_lanes_.empty());
  add_other_placing_rails(count);
  std::vector<const PlacingRail*> rails;
  for (const auto& rail : placing_rails_) rails.push_back(rail.get());
  while (page_lanes_.size() < count) {
    const auto lane = static_cast<uint32_t>(page_lanes_.size());
    const PlacingRail* const rail = rails[lane % rails.size()];
    Result<std::unique_ptr<Endpoint>> endpoint =
        rail->connect_lane(parts_.control, kPageLaneFirst + lane, deadline_in(kConnectMax));
    if (endpoint) {
      page_lanes_.push_back({std::move(*endpoint), rail});
      continue;
    }
    // The stream's own worked a moment ago.
    if (rail == rails[0]) return tl::unexpected<Error>(endpoint.error());
    page_lanes_note_ = to_string(endpoint.error());
    std::erase(rails, rail);
  }
  return {};
}

// Of the kind that the stream has. Each registers guest memory, so no more than there are lanes.
void RelaySource::add_other_placing_rails(size_t count_max) {
  const Rail& used = parts_.rails[rail_];
  for (size_t rail = 0; rail < parts_.rails.size() && placing_rails_.size() < count_max; ++rail) {
    const Rail& other = parts_.rails[rail];
    if (rail == rail_ || ends_[rail] == kNoRailEnd || other.use != used.use) continue;
    Status added = check_regions(rails_there_[ends_[rail]], blocks_);
    if (added) added = add_placing_rail(rail);
    if (!added) page_lanes_note_ = to_string(added.error());
  }
}

Result<StreamTraffic> RelaySource::carry(const std::vector<PageChannel*>& channels) {
  // Until the other end has done with the stream: it may be reading what nobody waits for any more.
  std::optional<ReadService> reads;
  if (read_from_ != nullptr) reads.emplace(*read_from_);
  const Result<StreamTraffic> traffic = carry_by_lanes(channels);
  if (parts_.await_link) parts_.await_link();
  if (!traffic) {
    const std::optional<Error> reason = link_->reason_of_peer(deadline_in(milliseconds(500)));
    if (!link_->peer_gave_up())
      (void)link_->send(Abort{traffic.error().code, to_string(traffic.error())});
    return tl::unexpected<Error>(reason.value_or(traffic.error()));
  }
  RETURN_IF_ERROR(link_->expect<StreamClosed>(deadline_in(options_.peer_timeout)));
  return traffic;
}

Result<StreamTraffic> RelaySource::carry_by_lanes(const std::vector<PageChannel*>& channels) {
  if (extractor_ == nullptr && read_from_ == nullptr) {
    if (UniqueFd outgoing = outgoing_->release_socket(); outgoing.valid())
      return splice(parts_.stream, std::move(outgoing), incoming_->release_socket(), interruption_,
                    options_.counters);
  }
  StreamReceiver receiver({.endpoint = *incoming_,
                           .stream = parts_.stream,
                           .ring = incoming_ring_->bytes(),
                           .counter = received_of(options_.counters)});
  const Direction incoming{*incoming_, [&] { return receiver.run(); }};
  const auto ring = outgoing_ring_->bytes().first(kRingThereBytes);
  if (extractor_ == nullptr) {
    StreamSender sender({.endpoint = *outgoing_,
                         .stream = parts_.stream,
                         .ring = ring,
                         .local = *rings_[rail_].outgoing,
                         .remote = rails_there_[ends_[rail_]].regions[0],
                         .counter = sent_of(options_.counters)});
    RETURN_IF_ERROR(relay::carry(parts_.stream, {*outgoing_, [&] { return sender.run(); }},
                                 incoming, interruption_));
    return StreamTraffic{.sent_bytes = sender.bytes(), .received_bytes = receiver.bytes()};
  }
  ASSIGN_OR_RETURN(StreamTraffic traffic, carry_placing(ring, incoming, channels));
  traffic.received_bytes = receiver.bytes();
  return traffic;
}

Result<StreamTraffic> RelaySource::carry_placing(std::span<std::byte> ring,
                                                 const Direction& incoming,
                                                 const std::vector<PageChannel*>& channels) {
  CHECK(channels.size() <= page_lanes_.size());
  PlacedPages placed;
  TornPages torn;
  for (const BlockDescription& block : blocks_) placed.add_block(block.size_bytes);
  std::vector<PageLane::Parts> lanes;
  for (size_t i = 0; i < channels.size(); ++i)
    lanes.push_back(
        {*page_lanes_[i].endpoint, *channels[i], page_lanes_[i].rail->blocks(), placed, torn});
  PageLanes page_lanes(std::move(lanes), interruption_);
  PlacingSender sender({.endpoint = *outgoing_,
                        .stream = parts_.stream,
                        .extractor = *extractor_,
                        .ring = ring,
                        .staging = outgoing_ring_->bytes().subspan(kRingThereBytes),
                        .local = *rings_[rail_].outgoing,
                        .remote = rails_there_[ends_[rail_]].regions[0],
                        .blocks = placing_rails_[0]->blocks(),
                        .placed = placed,
                        .torn = torn,
                        .counter = sent_of(options_.counters)});
  RETURN_IF_ERROR(relay::carry(parts_.stream, {*outgoing_, [&] { return sender.run(); }}, incoming,
                               interruption_));
  page_lanes.end();
  RETURN_IF_ERROR(interruption_.check());
  return StreamTraffic{.sent_bytes = sender.read_bytes() + page_lanes.read_bytes(),
                       .received_bytes = 0,
                       .placed_bytes = sender.placed_bytes() + page_lanes.placed_bytes(),
                       .note = extractor_->note()};
}

}  // namespace godwit::relay
