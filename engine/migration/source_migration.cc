// SPDX-License-Identifier: Apache-2.0
//
// The states in order, and what happens when one fails. The rounds are in source_rounds.cc, the
// switchover in source_switchover.cc.
#include "engine/migration/source_migration.h"

#include "engine/migration/cpu_time.h"

namespace godwit {

namespace {

// How long a peer that is lost on a lane may take to say why on the control connection.
constexpr Clock::duration kReasonPatience = milliseconds(500);

}  // namespace

SourceMigration::SourceMigration(const Parts& parts, SourceOptions options)
    : parts_(parts), options_(std::move(options)), limiter_(options_.bandwidth_limit_bytes_per_s) {}

SourceMigration::~SourceMigration() = default;

void SourceMigration::cancel() {
  interruption_.raise(fail(Errc::kCancelled, "cancelled on the source").value());
}

MigrationReport SourceMigration::run() {
  begin_ = Clock::now();
  report_.session = options_.session;
  report_.security = parts_.control.security();
  report_.transport = parts_.transport.capabilities().name;
  report_.ram_bytes = total_bytes(parts_.guest.memory());
  link_ = std::make_unique<ControlLink>(parts_.control, interruption_, options_.peer_timeout);

  const Status status = migrate();
  if (!status) give_up(interruption_.cause_of(status.error()));

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
  RETURN_IF_ERROR(arm());
  RETURN_IF_ERROR(copy_until_little_remains());
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

  const GuestMemory& memory = parts_.guest.memory();
  Offer offer;
  offer.identity = parts_.guest.identity();
  for (const GuestBlock& block : memory) {
    offer.blocks.push_back({.name = block.name,
                            .size_bytes = block.size_bytes(),
                            .page_size_bytes = block.page_size_bytes,
                            .numa_node = block.numa_node});
  }
  offer.transport = report_.transport;
  offer.lane_count = options_.lanes == 0 ? default_lane_count() : options_.lanes;
  offer.verification = options_.verification;
  RETURN_IF_ERROR(link_->send(offer));

  // The destination maps its memory and prepares its VMM before it answers.
  ASSIGN_OR_RETURN(const Accept accept, link_->expect<Accept>(deadline_in(seconds(60))));
  if (accept.regions.size() != memory.size() || accept.lane_count != offer.lane_count) {
    return fail(Errc::kCorrupt, "the destination accepted another layout than was offered");
  }
  for (size_t block = 0; block < memory.size(); ++block) {
    if (accept.regions[block].size_bytes != memory[block].size_bytes()) {
      return fail(Errc::kCorrupt, "the destination's memory for RAM block '{}' has another size",
                  memory[block].name);
    }
  }
  return connect_lanes(accept);
}

Status SourceMigration::connect_lanes(const Accept& accept) {
  enter(SourceState::kConnectingLanes);
  const GuestMemory& memory = parts_.guest.memory();
  lane_context_ = std::make_unique<precopy::LaneContext>(
      precopy::LaneContext{.memory = memory,
                           .local = {},
                           .remote = accept.regions,
                           .limiter = limiter_,
                           .interruption = interruption_,
                           .stall_max = options_.peer_timeout});
  for (const GuestBlock& block : memory) {
    ASSIGN_OR_RETURN(std::unique_ptr<MemoryRegion> region,
                     parts_.transport.register_memory(block.memory, RemoteAccess::kNone));
    lane_context_->local.push_back(region.get());
    regions_.push_back(std::move(region));
  }
  std::vector<std::unique_ptr<Endpoint>> endpoints;
  for (uint32_t lane = 0; lane < accept.lane_count; ++lane) {
    ASSIGN_OR_RETURN(const auto token, parts_.control.lane_token(lane));
    ASSIGN_OR_RETURN(std::unique_ptr<Endpoint> endpoint,
                     parts_.transport.connect(accept.lane_address, {token, lane},
                                              deadline_in(options_.peer_timeout)));
    endpoints.push_back(std::move(endpoint));
  }
  ASSIGN_OR_RETURN(const LanesReady ready,
                   link_->expect<LanesReady>(deadline_in(options_.peer_timeout)));
  (void)ready;
  lanes_ = std::make_unique<precopy::LaneGroup>(*lane_context_, std::move(endpoints));
  return {};
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
  report_.status = error.code == Errc::kRefused     ? MigrationStatus::kRefused
                   : error.code == Errc::kCancelled ? MigrationStatus::kCancelled
                                                    : MigrationStatus::kFailed;
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
