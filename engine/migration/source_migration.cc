// SPDX-License-Identifier: Apache-2.0
//
// The states in order, and what happens when one fails. The rounds are in source_rounds.cc, the
// switchover in source_switchover.cc.
#include "engine/migration/source_migration.h"

#include <algorithm>
#include <limits>

#include "engine/migration/cpu_time.h"
#include "engine/migration/rail_ends.h"
#include "engine/wire/describe.h"

namespace godwit {

namespace {

// How long a peer that is lost on a lane may take to say why on the control connection.
constexpr Clock::duration kReasonPatience = milliseconds(500);
// More than any RDMA link holds; less where a rail is slow (lane_pace.h).
constexpr uint64_t kOneSidedInFlightBytesMax = 8 * kMiB;

}  // namespace

SourceMigration::SourceMigration(Parts parts, SourceOptions options)
    : parts_(std::move(parts)),
      options_(std::move(options)),
      limiter_(options_.bandwidth_limit_bytes_per_s) {}

SourceMigration::~SourceMigration() = default;

void SourceMigration::cancel() {
  interruption_.raise(fail(Errc::kCancelled, "cancelled on the source").value());
}

MigrationReport SourceMigration::run() {
  begin_ = Clock::now();
  report_.session = options_.session;
  report_.security = parts_.control.security();
  report_.transport = parts_.rails.front().transport->capabilities().name;
  report_.ram_bytes = total_bytes(parts_.guest.memory());
  link_ = std::make_unique<ControlLink>(parts_.control, interruption_, options_.peer_timeout,
                                        [this](const ControlMessage& message) {
                                          const auto* closed = std::get_if<LaneClosed>(&message);
                                          if (closed != nullptr)
                                            closed_lanes_.note(closed->lane, closed->reason);
                                          return closed != nullptr;
                                        });

  const Status status = migrate();
  if (!status) give_up(interruption_.cause_of(status.error()));

  report_rails();
  closed_lanes_.end();
  post_copy_.reset();
  lanes_.reset();
  regions_.clear();
  (void)parts_.guest.dirty_tracker().stop();
  link_.reset();
  report_.total_ms = to_milliseconds(Clock::now() - begin_);
  report_.cpu_seconds = process_cpu_seconds();
  if (transfer_time_.count() > 0) {
    report_.throughput_bytes_per_s =
        static_cast<double>(report_.bytes_sent) / to_seconds(transfer_time_);
  }
  return report_;
}

Status SourceMigration::migrate() {
  enter(SourceState::kConnecting);
  RETURN_IF_ERROR(negotiate());
  if (options_.post_copy == PostCopy::kNow) {
    RETURN_IF_ERROR(prepare_at_once());
    return switch_to_post_copy();
  }
  RETURN_IF_ERROR(arm());
  RETURN_IF_ERROR(copy_until_little_remains());
  if (post_copy_ != nullptr) return switch_to_post_copy();
  RETURN_IF_ERROR(final_memory());
  RETURN_IF_ERROR(save_state());
  RETURN_IF_ERROR(verify());
  return hand_over();
}

Status SourceMigration::negotiate() {
  enter(SourceState::kNegotiating);
  const Deadline deadline = deadline_in(options_.peer_timeout);
  RETURN_IF_ERROR(link_->send(Hello{.protocol_version = kProtocolVersion,
                                    .software = options_.software,
                                    .session = options_.session,
                                    .role = Role::kSource}));
  ASSIGN_OR_RETURN(const Hello hello, link_->expect<Hello>(deadline));
  if (hello.protocol_version != kProtocolVersion) {
    return fail(
        Errc::kRefused,
        "protocol versions differ: the destination ({}) speaks {}, the source ({}) speaks {}; "
        "install the same version of godwit on both hosts",
        hello.software, hello.protocol_version, options_.software, kProtocolVersion);
  }

  Offer offer;
  offer.identity = parts_.guest.identity();
  offer.blocks = describe(parts_.guest.memory());
  offer.rails = describe(parts_.rails);
  offer.verification = options_.verification;
  RETURN_IF_ERROR(link_->send(offer));

  // The destination maps its memory and prepares its VMM before it answers.
  ASSIGN_OR_RETURN(const Accept accept, link_->expect<Accept>(deadline_in(seconds(60))));
  RETURN_IF_ERROR(join_rails(accept));
  return connect_lanes();
}

// Joins each of our rails to one at the destination that has the same transport.
Status SourceMigration::join_rails(const Accept& accept) {
  enter(SourceState::kConnectingLanes);
  const GuestMemory& memory = parts_.guest.memory();
  lane_context_ = std::make_unique<precopy::LaneContext>(
      precopy::LaneContext{.memory = memory,
                           .rails = {},
                           .limiter = limiter_,
                           .interruption = interruption_,
                           .stall_max = options_.peer_timeout});
  for (const AcceptedRail& rail : accept.rails) {
    if (rail.regions.size() != memory.size())
      return fail(Errc::kCorrupt, "the destination accepted another layout than was offered");
    for (size_t block = 0; block < memory.size(); ++block) {
      if (rail.regions[block].size_bytes != memory[block].size_bytes()) {
        return fail(Errc::kCorrupt, "the destination's memory for RAM block '{}' has another size",
                    memory[block].name);
      }
    }
  }
  if (accept.block_nodes.size() != memory.size())
    return fail(Errc::kCorrupt, "the destination says nothing of where its memory is");
  placement_.block_nodes_there = accept.block_nodes;
  placement_.source.distances = parts_.topology.distances;
  const std::vector<size_t> ends = choose_rail_ends(parts_.rails, accept.rails);
  for (size_t i = 0; i < parts_.rails.size(); ++i) {
    const Rail& rail = parts_.rails[i];
    const size_t chosen = ends[i];
    if (chosen == kNoRailEnd) {
      if (rail.use == RailUse::kAlways)
        note_rail(report_, rail.name,
                  fail(Errc::kRefused, "the destination has no rail for it").value());
      continue;
    }
    precopy::RailMemory rail_memory{
        .local = {},
        .remote = accept.rails[chosen].regions,
        .in_flight_bytes_max = rail.transport->capabilities().one_sided
                                   ? kOneSidedInFlightBytesMax
                                   : std::numeric_limits<uint64_t>::max()};
    std::vector<std::unique_ptr<MemoryRegion>> regions;
    const Status registered = register_memory(rail, regions);
    if (!registered) {
      note_rail(report_, rail.name, registered.error());
      if (&rail == &parts_.rails.back() && rails_.empty())
        return tl::unexpected<Error>(registered.error());
      continue;
    }
    for (auto& region : regions) {
      rail_memory.local.push_back(region.get());
      regions_.push_back(std::move(region));
    }
    lane_context_->rails.push_back(std::move(rail_memory));
    rails_.push_back(&rail);
    joined_rails_.push_back({rail.transport, accept.rails[chosen].address});
    placement_.pairs.push_back(
        {.source = rails_.size() - 1, .destination = rails_.size() - 1, .reason = {}});
    placement_.source.rails.push_back({.name = rail.name, .node = rail.numa_node});
    placement_.destination.rails.push_back(
        {.name = accept.rails[chosen].name, .node = accept.rails[chosen].numa_node});
  }
  if (rails_.empty())
    return fail(Errc::kCorrupt, "the destination accepted a way that was not offered");
  return {};
}

Status SourceMigration::register_memory(const Rail& rail,
                                        std::vector<std::unique_ptr<MemoryRegion>>& regions) {
  const PageStability stability = parts_.guest.discards() == Discards::kPossible
                                      ? PageStability::kReplaceable
                                      : PageStability::kStable;
  for (const GuestBlock& block : parts_.guest.memory()) {
    ASSIGN_OR_RETURN(std::unique_ptr<MemoryRegion> region,
                     rail.transport->register_memory(block.memory, RemoteAccess::kNone, stability));
    regions.push_back(std::move(region));
  }
  return {};
}

Status SourceMigration::connect_lanes() {
  connector_ = std::make_unique<LaneConnector>(
      LaneConnector::Parts{parts_.control, *link_, interruption_, closed_lanes_}, joined_rails_,
      options_.peer_timeout);
  std::vector<RailUse> uses;
  for (const Rail* rail : rails_) uses.push_back(rail->use);
  // What is left is no last resort when it is all there is.
  if (std::ranges::count(uses, RailUse::kAlways) == 0) uses.assign(uses.size(), RailUse::kAlways);
  lanes_ = std::make_unique<precopy::LaneGroup>(
      *lane_context_, *connector_, std::move(uses),
      options_.lanes == 0 ? default_lane_count() : options_.lanes);
  place_lanes();
  RETURN_IF_ERROR(lanes_->connect());
  closed_lanes_.watch([this](uint32_t lane) { lanes_->lose(lane); });
  return link_->send(LanesReady{});
}

// Near where pages lie, and where their rail is.
void SourceMigration::place_lanes() {
  // Nothing is at home on a rail of last resort, but where there is no other.
  const auto always = static_cast<size_t>(std::ranges::count_if(
      rails_, [](const Rail* rail) { return rail->use == RailUse::kAlways; }));
  if (always > 0) placement_.pairs.resize(always);
  std::vector<int> lane_nodes;
  for (size_t rail : lanes_->home_rails()) lane_nodes.push_back(rails_[rail]->numa_node);
  std::vector<numa::CpuList> cpus(lane_nodes.size());
  // Where everything is equally near, the scheduler knows better which core is free.
  if (parts_.topology.nodes.size() > 1) {
    const auto placements = numa::place_lanes(parts_.topology, lane_nodes);
    std::ranges::transform(placements, cpus.begin(),
                           [](const numa::LanePlacement& lane) { return lane.cpus; });
  }
  lanes_->place(choose_home_rails(lanes_->chunks(), parts_.guest.memory(), placement_),
                std::move(cpus));
}

std::vector<RailReport> SourceMigration::describe_rails(
    const std::vector<precopy::RailCounters>& counters) const {
  std::vector<RailReport> described;
  for (size_t i = 0; i < rails_.size(); ++i) {
    const auto& last_loss = counters[i].last_loss;
    described.push_back({.name = rails_[i]->name,
                         .transport = rails_[i]->transport->capabilities().name,
                         .numa_node = rails_[i]->numa_node,
                         .bytes_sent = counters[i].bytes_sent,
                         .helped_bytes = counters[i].helped_bytes,
                         .losses = counters[i].losses,
                         .slowdowns = counters[i].slowdowns,
                         .last_loss = last_loss ? to_string(*last_loss) : std::string(),
                         .recovery_ms = to_milliseconds(counters[i].recovery_max)});
  }
  return described;
}

// Names the rails that carried pages, and why others did not.
void SourceMigration::report_rails() {
  if (lanes_ == nullptr || !report_.rails.empty()) return;
  const std::vector<precopy::RailCounters> counters = lanes_->rails();
  report_.rails = describe_rails(counters);
  uint64_t most_bytes = 0;
  for (const RailReport& rail : report_.rails) {
    if (rail.bytes_sent <= most_bytes) continue;
    most_bytes = rail.bytes_sent;
    report_.transport = rail.transport;
  }
  for (size_t i = 0; i < rails_.size(); ++i) {
    if (counters[i].losses > 0) note_rail(report_, rails_[i]->name, *counters[i].last_loss);
  }
}

void SourceMigration::give_up(const Error& error) {
  report_.error = error;
  if (state_ == SourceState::kCommitted) {
    report_.status = MigrationStatus::kInDoubt;
    return enter(SourceState::kInDoubt);
  }
  // First of all the guest: everything else can wait.
  if (guest_paused_) {
    const Status resumed = parts_.guest.resume();
    if (!resumed) {
      report_.error = fail(Errc::kGuest, "{}; and the guest could not be resumed here: {}",
                           to_string(error), to_string(resumed.error()))
                          .value();
    }
    guest_paused_ = false;
  }
  if (error.code == Errc::kPeerLost) {
    const auto reason = link_->reason_of_peer(deadline_in(kReasonPatience));
    if (reason) report_.error = reason;
  }
  if (!link_->peer_gave_up()) (void)link_->send(Abort{error.code, to_string(error)});
  report_.status = status_before_commit(error);
  enter(SourceState::kFailed);
}

Status SourceMigration::pause_guest() {
  paused_at_ = Clock::now();
  // Before the call: a pause that fails half-way has to be undone, too.
  guest_paused_ = true;
  return parts_.guest.pause();
}

Status SourceMigration::resume_guest() {
  RETURN_IF_ERROR(parts_.guest.resume());
  guest_paused_ = false;
  return {};
}

void SourceMigration::enter(SourceState state) {
  state_ = state;
  parts_.observer.on_state(to_string(state));
}

}  // namespace godwit
