// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/relay_destination.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "engine/lane_tickets.h"
#include "engine/relay/answered_stream.h"
#include "engine/relay/page_reader.h"
#include "engine/relay/request_taker.h"
#include "engine/relay/splice_stream.h"
#include "engine/relay/stream_sender.h"
#include "engine/relay/stream_session.h"
#include "engine/wire/describe.h"

namespace godwit::relay {
namespace {

// What a source may take to connect, which tries one rail after the other.
constexpr Clock::duration kLanesMax = seconds(30);
constexpr Clock::duration kFarewellMax = seconds(2);

}  // namespace

// Where lanes come in: all rails at once. Those of the stream until one rail has all that there
// are, those of page channels at any time.
class RelayDestination::Doors {
 public:
  enum class Wanted : uint8_t { kDirections = 1, kDirectionsAndReads = 2 };
  struct Lanes {
    std::unique_ptr<Endpoint> outgoing;
    std::unique_ptr<Endpoint> incoming;
    std::unique_ptr<Endpoint> reading;  // where it is wanted
    size_t rail;                        // of those that are accepted
    uint32_t rail_there;                // of OpenStream::rails
  };

  // `page_receivers` null: pages cannot be taken.
  Doors(std::vector<std::unique_ptr<Listener>>& listeners, ControlChannel& control,
        Interruption& interruption, Wanted wanted, PageReceivers* page_receivers)
      : listeners_(listeners),
        wanted_(wanted),
        page_receivers_(page_receivers),
        tickets_([&control](uint32_t lane) { return control.lane_token(lane); }) {
    wake_ = interruption.on_raise([this] { close(); });
    for (size_t rail = 0; rail < listeners_.size(); ++rail)
      threads_.emplace_back([this, rail] { let_in(rail); });
  }
  ~Doors() {
    close();
    threads_.clear();
  }

  Result<Lanes> wait(Deadline deadline) {
    std::unique_lock lock(mutex_);
    std::optional<Lanes> found;
    changed_.wait_until(lock, deadline, [&] { return closed_ || (found = find_lanes()); });
    if (found) return std::move(*found);
    return fail(Errc::kPeerLost, "the source's lanes did not come");
  }

 private:
  struct Lane {
    size_t rail;
    std::unique_ptr<Endpoint> endpoint;
  };

  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    for (const auto& listener : listeners_) listener->shut_down();
    changed_.notify_all();
  }

  void let_in(size_t rail) {
    while (true) {
      Result<AcceptedLane> accepted = listeners_[rail]->accept(tickets_, Deadline::max());
      if (!accepted) return;
      if (page_receivers_ != nullptr && is_page_lane(accepted->lane)) {
        page_receivers_->serve(std::move(accepted->endpoint));
        continue;
      }
      std::lock_guard lock(mutex_);
      lanes_[accepted->lane] = {rail, std::move(accepted->endpoint)};
      changed_.notify_all();
    }
  }

  std::optional<Lanes> find_lanes() {
    for (auto& [number, lane] : lanes_) {
      const uint32_t rail_there = number / kStreamDirections;
      const auto back = lanes_.find(lane_number(rail_there, StreamLane::kBack));
      const auto reading = lanes_.find(lane_number(rail_there, StreamLane::kRead));
      const bool reads = wanted_ == Wanted::kDirectionsAndReads;
      if (number != lane_number(rail_there, StreamLane::kThere) || back == lanes_.end() ||
          (reads && reading == lanes_.end()))
        continue;
      Lanes found{std::move(back->second.endpoint), std::move(lane.endpoint), nullptr, lane.rail,
                  rail_there};
      if (reads) found.reading = std::move(reading->second.endpoint);
      return found;
    }
    return std::nullopt;
  }

  std::vector<std::unique_ptr<Listener>>& listeners_;
  const Wanted wanted_;
  PageReceivers* const page_receivers_;
  LaneTickets tickets_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;
  std::map<uint32_t, Lane> lanes_;  // by number
  Interruption::Hook wake_;
  std::vector<std::jthread> threads_;
};

RelayDestination::RelayDestination(Parts parts, RelayOptions options)
    : parts_(std::move(parts)), options_(std::move(options)) {}

RelayDestination::~RelayDestination() = default;

void RelayDestination::stop() {
  interruption_.raise(fail(Errc::kCancelled, "stopped at the destination").value());
}

Result<StreamTraffic> RelayDestination::run() {
  link_ = std::make_unique<ControlLink>(parts_.control, interruption_, options_.peer_timeout);
  Result<StreamTraffic> traffic = pass_on();
  if (traffic) {
    if (const Status handed_over = hand_over(); !handed_over)
      traffic = tl::unexpected<Error>(handed_over.error());
  } else if (!link_->peer_gave_up()) {
    const Error& error = traffic.error();
    (void)(error.code == Errc::kRefused ? link_->send(Refuse{to_string(error)})
                                        : link_->send(Abort{error.code, to_string(error)}));
  } else if (const auto reason = link_->reason_of_peer(Deadline{})) {
    traffic = tl::unexpected<Error>(*reason);
  }
  // The source closes the connection when it has read our last message.
  link_->drain(deadline_in(kFarewellMax));
  return traffic;
}

void RelayDestination::close_lanes() {
  if (page_receivers_ != nullptr) page_receivers_->close();
  outgoing_.reset();
  incoming_.reset();
}

Status RelayDestination::hand_over() {
  RETURN_IF_ERROR(link_->send(StreamClosed{}));
  return parts_.hand_over ? parts_.hand_over(*link_, interruption_) : Status{};
}

Result<StreamTraffic> RelayDestination::pass_on() {
  ASSIGN_OR_RETURN(const Hello hello, link_->expect<Hello>(deadline_in(options_.peer_timeout)));
  if (hello.protocol_version != kProtocolVersion)
    return fail(Errc::kRefused, "protocol versions differ: the source ({}) speaks {}, we speak {}",
                hello.software, hello.protocol_version, kProtocolVersion);
  if (hello.purpose != options_.purpose) {
    if (options_.purpose == Purpose::kRelay)
      return fail(Errc::kRefused, "this is a relay: it waits for `godwit relay listen`");
    return fail(Errc::kRefused,
                "the destination has --mode channel, the source has not: give both the same");
  }
  session_ = hello.session;
  RETURN_IF_ERROR(link_->send(Hello{.protocol_version = kProtocolVersion,
                                    .software = options_.software,
                                    .session = hello.session,
                                    .role = Role::kDestination,
                                    .purpose = options_.purpose}));
  ASSIGN_OR_RETURN(const OpenStream offer,
                   link_->expect<OpenStream>(deadline_in(options_.peer_timeout)));
  // Where it lets us read its guest's memory, it says what that consists of.
  const bool reads = offer.rails[0].regions.size() > 1;
  Offer readable;
  if (reads) {
    ASSIGN_OR_RETURN(readable, link_->expect<Offer>(deadline_in(options_.peer_timeout)));
  }
  ASSIGN_OR_RETURN(target_, parts_.connect(offer));
  RETURN_IF_ERROR(answer(offer));

  if (reads && !parts_.make_requests)
    return fail(Errc::kCorrupt, "the source offers memory that nobody here reads");
  if (!target_.guest.empty())
    page_receivers_ =
        std::make_unique<PageReceivers>(target_.guest, present_at_start_, interruption_);
  Doors doors(rails_.listeners, parts_.control, interruption_,
              reads ? Doors::Wanted::kDirectionsAndReads : Doors::Wanted::kDirections,
              page_receivers_.get());
  ASSIGN_OR_RETURN(Doors::Lanes lanes, doors.wait(deadline_in(kLanesMax)));
  if (lanes.rail_there >= offer.rails.size())
    return fail(Errc::kCorrupt, "the source has no rail {}", lanes.rail_there);
  const ServedRail& source = offer.rails[lanes.rail_there];
  RETURN_IF_ERROR(check_regions(source, readable.blocks));
  const AcceptedRail& rail = rails_.accepted[lanes.rail];
  transport_ = rail.transport;
  if (target_.guest.empty() && !reads) {
    if (UniqueFd outgoing = lanes.outgoing->release_socket(); outgoing.valid())
      return pass_on_meanwhile([&] {
        return splice(*target_.stream, std::move(outgoing), lanes.incoming->release_socket(),
                      interruption_, options_.counters);
      });
  }
  Transport& transport = transport_of(rail);
  ASSIGN_OR_RETURN(outgoing_region_,
                   transport.register_memory(outgoing_ring_->bytes(), RemoteAccess::kNone));
  outgoing_ = std::move(lanes.outgoing);
  incoming_ = std::move(lanes.incoming);
  reading_ = std::move(lanes.reading);
  const Rings rings{.outgoing = *outgoing_region_, .remote = source.regions[0]};
  return pass_on_meanwhile([&] {
    return reads ? carry_and_answer(rings, readable.blocks, source, transport) : carry(rings);
  });
}

Result<StreamTraffic> RelayDestination::pass_on_meanwhile(
    const std::function<Result<StreamTraffic>()>& pass) {
  if (!parts_.meanwhile) return pass();
  Result<StreamTraffic> traffic;
  {
    const std::jthread meanwhile([this](const std::stop_token& stop) {
      if (const Status done = parts_.meanwhile(*link_, interruption_, stop); !done)
        interruption_.raise(done.error());
    });
    traffic = pass();
  }
  RETURN_IF_ERROR(interruption_.check());
  return traffic;
}

Status RelayDestination::check_regions(const ServedRail& rail,
                                       const std::vector<BlockDescription>& blocks) {
  if (rail.regions.size() != 1 + blocks.size() || rail.regions[0].size_bytes != kRingBackBytes)
    return fail(Errc::kCorrupt,
                "the source has no ring of the right size, or {} regions for {} "
                "RAM blocks and a ring",
                rail.regions.size(), blocks.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (rail.regions[1 + i].size_bytes != blocks[i].size_bytes)
      return fail(Errc::kCorrupt, "the source's RAM block '{}' has two sizes", blocks[i].name);
  }
  return {};
}

StreamReceiver::Parts RelayDestination::receiver_parts() {
  return {.endpoint = *incoming_,
          .stream = *target_.stream,
          .ring = incoming_ring_->bytes(),
          .guest = target_.guest.empty() ? nullptr : &target_.guest,
          .present_at_start = &present_at_start_,
          .counter = received_of(options_.counters)};
}

Result<StreamTraffic> RelayDestination::carry(const Rings& rings) {
  StreamSender sender({.endpoint = *outgoing_,
                       .stream = *target_.stream,
                       .ring = outgoing_ring_->bytes(),
                       .local = rings.outgoing,
                       .remote = rings.remote,
                       .counter = sent_of(options_.counters)});
  StreamReceiver receiver(receiver_parts());
  RETURN_IF_ERROR(relay::carry(*target_.stream, {*outgoing_, [&] { return sender.run(); }},
                               {*incoming_, [&] { return receiver.run(); }}, interruption_));
  return StreamTraffic{.sent_bytes = sender.bytes(), .received_bytes = receiver.bytes()};
}

Result<StreamTraffic> RelayDestination::carry_and_answer(
    const Rings& rings, const std::vector<BlockDescription>& blocks, const ServedRail& source,
    Transport& transport) {
  const std::unique_ptr<PageRequests> requests = parts_.make_requests(blocks);
  AnsweredStream answered(*target_.stream, *requests, received_of(options_.counters));
  uint64_t page_bytes_max = kBasePageBytes;
  for (const BlockDescription& block : blocks) {
    if (block.page_size_bytes <= kRequestedBytesMax)
      page_bytes_max = std::max(page_bytes_max, block.page_size_bytes);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<PageReader> reader,
                   PageReader::make({.transport = transport,
                                     .endpoint = *reading_,
                                     .stream = answered,
                                     .blocks = {source.regions.begin() + 1, source.regions.end()},
                                     .page_bytes_max = page_bytes_max}));
  RequestTaker taker({.endpoint = *outgoing_,
                      .stream = *target_.stream,
                      .requests = *requests,
                      .reader = *reader,
                      .ring = outgoing_ring_->bytes(),
                      .local = rings.outgoing,
                      .remote = rings.remote,
                      .counter = sent_of(options_.counters)});
  StreamReceiver::Parts parts = receiver_parts();
  parts.answered = &answered;
  StreamReceiver receiver(parts);
  std::atomic<bool> carried{false};
  Status status;
  {
    const std::jthread reading([&] {
      if (const Status read = reader->run(); !read && !carried) interruption_.raise(read.error());
    });
    status = relay::carry(*target_.stream, {*outgoing_, [&] { return taker.run(); }},
                          {*incoming_, [&] { return receiver.run(); }}, interruption_);
    carried = true;
    reader->stop();
    answered.cancel();
    reading_->shut_down();
  }
  RETURN_IF_ERROR(status);
  return StreamTraffic{.sent_bytes = taker.bytes(),
                       .received_bytes = receiver.bytes(),
                       .answered_pages = answered.answered_pages()};
}

Status RelayDestination::answer(const OpenStream& offer) {
  ASSIGN_OR_RETURN(outgoing_ring_, StreamRing::make(kRingBackBytes));
  ASSIGN_OR_RETURN(incoming_ring_, StreamRing::make(kRingThereBytes));
  std::vector<std::string> offered;
  for (const ServedRail& rail : offer.rails) offered.push_back(rail.transport);
  MigrationReport notes;
  StreamOpened answer;
  answer.note = target_.note;
  RETURN_IF_ERROR(describe_guest(answer));
  memory_ = incoming_ring_->as_memory("stream");
  memory_.insert(memory_.end(), target_.guest.begin(), target_.guest.end());
  ASSIGN_OR_RETURN(rails_, DestinationRails::open(parts_.rails, memory_, offered, notes));
  answer.rails = rails_.accepted;
  return link_->send(answer);
}

Status RelayDestination::describe_guest(StreamOpened& answer) {
  const GuestMemory& guest = target_.guest;
  present_at_start_ = empty_page_set(guest);
  for (size_t block = 0; block < guest.size(); ++block)
    RETURN_IF_ERROR(find_present_pages(guest[block], present_at_start_[block]));
  answer.blocks = describe(guest);
  return {};
}

Transport& RelayDestination::transport_of(const AcceptedRail& rail) const {
  const auto found = std::ranges::find_if(parts_.rails, [&](const Rail& ours) {
    return ours.name == rail.name && ours.transport->capabilities().name == rail.transport;
  });
  return *found->transport;
}

}  // namespace godwit::relay
