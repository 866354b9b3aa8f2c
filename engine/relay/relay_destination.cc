// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/relay_destination.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "engine/lane_tickets.h"
#include "engine/relay/splice_stream.h"
#include "engine/relay/stream_receiver.h"
#include "engine/relay/stream_sender.h"
#include "engine/relay/stream_session.h"

namespace godwit::relay {
namespace {

// What a source may take to connect, which tries one rail after the other.
constexpr Clock::duration kLanesMax = seconds(30);
constexpr Clock::duration kFarewellMax = seconds(2);

}  // namespace

// Where lanes come in: all rails at once, until one of them has both directions.
class RelayDestination::Doors {
 public:
  struct LanePair {
    std::unique_ptr<Endpoint> outgoing;
    std::unique_ptr<Endpoint> incoming;
    size_t rail;          // of those that are accepted
    uint32_t rail_there;  // of OpenStream::rails
  };

  Doors(std::vector<std::unique_ptr<Listener>>& listeners, ControlChannel& control,
        Interruption& interruption)
      : listeners_(listeners),
        tickets_([&control](uint32_t lane) { return control.lane_token(lane); }) {
    wake_ = interruption.on_raise([this] { close(); });
    for (size_t rail = 0; rail < listeners_.size(); ++rail)
      threads_.emplace_back([this, rail] { let_in(rail); });
  }
  ~Doors() {
    close();
    threads_.clear();
  }

  Result<LanePair> wait(Deadline deadline) {
    std::unique_lock lock(mutex_);
    std::optional<LanePair> found;
    changed_.wait_until(lock, deadline, [&] { return closed_ || (found = find_pair()); });
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
      std::lock_guard lock(mutex_);
      lanes_[accepted->lane] = {rail, std::move(accepted->endpoint)};
      changed_.notify_all();
    }
  }

  std::optional<LanePair> find_pair() {
    for (auto& [number, lane] : lanes_) {
      const uint32_t rail_there = number / 2;
      const auto back = lanes_.find(lane_number(rail_there, StreamDirection::kBack));
      if (number != lane_number(rail_there, StreamDirection::kThere) || back == lanes_.end())
        continue;
      return LanePair{std::move(back->second.endpoint), std::move(lane.endpoint), lane.rail,
                      rail_there};
    }
    return std::nullopt;
  }

  std::vector<std::unique_ptr<Listener>>& listeners_;
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
  ASSIGN_OR_RETURN(target_, parts_.connect(offer));
  RETURN_IF_ERROR(answer(offer));

  Doors::LanePair lanes;
  {
    Doors doors(rails_.listeners, parts_.control, interruption_);
    ASSIGN_OR_RETURN(lanes, doors.wait(deadline_in(kLanesMax)));
  }
  if (lanes.rail_there >= offer.rails.size() || offer.rails[lanes.rail_there].regions.size() != 1 ||
      offer.rails[lanes.rail_there].regions[0].size_bytes != kRingBackBytes)
    return fail(Errc::kCorrupt, "the source has no ring of the right size");
  const AcceptedRail& rail = rails_.accepted[lanes.rail];
  transport_ = rail.transport;
  if (target_.guest.empty()) {
    if (UniqueFd outgoing = lanes.outgoing->release_socket(); outgoing.valid())
      return splice(*target_.stream, std::move(outgoing), lanes.incoming->release_socket(),
                    interruption_, options_.counters);
  }
  ASSIGN_OR_RETURN(const MemoryRegion* const outgoing, register_outgoing(rail));
  outgoing_ = std::move(lanes.outgoing);
  incoming_ = std::move(lanes.incoming);
  StreamSender sender({.endpoint = *outgoing_,
                       .stream = *target_.stream,
                       .ring = outgoing_ring_->bytes(),
                       .local = *outgoing,
                       .remote = offer.rails[lanes.rail_there].regions[0],
                       .counter = sent_of(options_.counters)});
  StreamReceiver receiver({.endpoint = *incoming_,
                           .stream = *target_.stream,
                           .ring = incoming_ring_->bytes(),
                           .guest = target_.guest.empty() ? nullptr : &target_.guest,
                           .present_at_start = &present_at_start_,
                           .counter = received_of(options_.counters)});
  RETURN_IF_ERROR(relay::carry(*target_.stream, {*outgoing_, [&] { return sender.run(); }},
                               {*incoming_, [&] { return receiver.run(); }}, interruption_));
  return StreamTraffic{.sent_bytes = sender.bytes(), .received_bytes = receiver.bytes()};
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
  for (size_t block = 0; block < guest.size(); ++block) {
    RETURN_IF_ERROR(find_present_pages(guest[block], present_at_start_[block]));
    answer.blocks.push_back({.name = guest[block].name,
                             .size_bytes = guest[block].size_bytes(),
                             .page_size_bytes = guest[block].page_size_bytes,
                             .numa_node = guest[block].numa_node});
  }
  return {};
}

Result<MemoryRegion*> RelayDestination::register_outgoing(const AcceptedRail& rail) {
  const auto found = std::ranges::find_if(parts_.rails, [&](const Rail& ours) {
    return ours.name == rail.name && ours.transport->capabilities().name == rail.transport;
  });
  ASSIGN_OR_RETURN(outgoing_region_,
                   found->transport->register_memory(outgoing_ring_->bytes(), RemoteAccess::kNone));
  return outgoing_region_.get();
}

}  // namespace godwit::relay
