// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/destination_migration.h"

#include <xxhash.h>

#include <algorithm>

#include "engine/base/check.h"
#include "engine/migration/cpu_time.h"
#include "engine/migration/verification.h"

namespace godwit {
namespace {

// More than the device state of most guests.
constexpr uint64_t kUsualStateBytes = kMiB;

}  // namespace

DestinationMigration::DestinationMigration(Parts parts, DestinationOptions options)
    : parts_(std::move(parts)), options_(std::move(options)) {}

DestinationMigration::~DestinationMigration() = default;

void DestinationMigration::cancel() {
  interruption_.raise(fail(Errc::kCancelled, "cancelled on the destination").value());
}

MigrationReport DestinationMigration::run() {
  begin_ = Clock::now();
  report_.security = parts_.control.security();
  report_.transport = parts_.rails.front().transport->capabilities().name;
  report_.ram_bytes = total_bytes(parts_.guest.memory());
  link_ = std::make_unique<ControlLink>(parts_.control, interruption_, options_.peer_timeout);

  const Status status = migrate();
  if (!status) give_up(interruption_.cause_of(status.error()));
  // The source closes the connection when it has read our last message.
  if (link_ != nullptr) link_->drain(deadline_in(seconds(2)));
  lanes_.reset();
  post_copy_.reset();
  rails_ = {};
  link_.reset();
  report_.total_ms = to_milliseconds(Clock::now() - begin_);
  report_.cpu_seconds = process_cpu_seconds();
  return report_;
}

Status DestinationMigration::migrate() {
  enter(DestinationState::kWaiting);
  RETURN_IF_ERROR(negotiate());
  RETURN_IF_ERROR(receive_memory_and_state());
  RETURN_IF_ERROR(load_state());
  if (post_copy_ != nullptr) return finish_by_post_copy();
  RETURN_IF_ERROR(await_commit());
  RETURN_IF_ERROR(start_guest());
  report_.status = MigrationStatus::kCompleted;
  return {};
}

Status DestinationMigration::negotiate() {
  const Deadline deadline = deadline_in(options_.peer_timeout);
  ASSIGN_OR_RETURN(const Hello hello, link_->expect<Hello>(deadline));
  if (hello.protocol_version != kProtocolVersion) {
    return fail(
        Errc::kRefused,
        "protocol versions differ: the source ({}) speaks {}, the destination ({}) speaks {}; "
        "install the same version of godwit on both hosts",
        hello.software, hello.protocol_version, options_.software, kProtocolVersion);
  }
  if (hello.purpose == Purpose::kRelay)
    return fail(Errc::kRefused, "this agent waits for `godwit send`, not for `godwit relay`");
  if (hello.purpose == Purpose::kChannel)
    return fail(Errc::kRefused,
                "the source has --mode channel, the destination --mode direct: give both the same");
  if (hello.purpose == Purpose::kRejoin) {
    came_back_for_ = hello.session;
    return fail(Errc::kRefused,
                "this agent waits for a new guest; that of session {} came here, or was to, "
                "before: `godwit status` on this host says how it stands",
                hello.session);
  }
  report_.session = hello.session;
  enter(DestinationState::kNegotiating);
  RETURN_IF_ERROR(link_->send(Hello{.protocol_version = kProtocolVersion,
                                    .software = options_.software,
                                    .session = hello.session,
                                    .role = Role::kDestination}));
  ASSIGN_OR_RETURN(const Offer offer, link_->expect<Offer>(deadline));
  RETURN_IF_ERROR(parts_.guest.check_compatible(offer.identity));
  RETURN_IF_ERROR(compare_layout(offer));
  if (options_.verification == Verification::kOn && offer.verification != Verification::kOn) {
    return fail(Errc::kRefused,
                "the destination insists on --verify, and the source was not told to");
  }

  const GuestMemory& memory = parts_.guest.memory();
  present_at_start_ = empty_page_set(memory);
  for (size_t block = 0; block < memory.size(); ++block) {
    RETURN_IF_ERROR(find_present_pages(memory[block], present_at_start_[block]));
    if (offer.verification == Verification::kOn)
      chunks_to_verify_ += verify_chunk_count(memory[block]);
  }
  RETURN_IF_ERROR(accept_rails(offer));
  return await_lanes();
}

// Opens our end of every rail whose transport the source has, too.
Status DestinationMigration::accept_rails(const Offer& offer) {
  std::vector<std::string> offered;
  for (const OfferedRail& rail : offer.rails) offered.push_back(rail.transport);
  ASSIGN_OR_RETURN(rails_,
                   DestinationRails::open(parts_.rails, parts_.guest.memory(), offered, report_));
  report_.transport = rails_.accepted.front().transport;
  Accept accept{.rails = rails_.accepted, .block_nodes = {}};
  for (const GuestBlock& block : parts_.guest.memory())
    accept.block_nodes.push_back(block.numa_node);
  lanes_ = std::make_unique<DestinationLanes>(
      DestinationLanes::Parts{
          parts_.guest.memory(), present_at_start_, interruption_,
          [this](uint32_t lane) { return parts_.control.lane_token(lane); },
          [this](uint32_t lane, const Error& reason) {
            (void)link_->send(LaneClosed{lane, to_string(reason)});
          },
          [this](const FetchLane& lane, size_t rail, Endpoint& endpoint,
                 const std::stop_token& stop) { return fetch(lane, rail, endpoint, stop); }},
      std::move(rails_.listeners));
  enter(DestinationState::kAcceptingLanes);
  return link_->send(accept);
}

Status DestinationMigration::compare_layout(const Offer& offer) const {
  const GuestMemory& memory = parts_.guest.memory();
  for (const BlockDescription& theirs : offer.blocks) {
    const auto ours = std::find_if(memory.begin(), memory.end(), [&](const GuestBlock& block) {
      return block.name == theirs.name;
    });
    if (ours == memory.end()) {
      return fail(Errc::kRefused, "the destination has no RAM block '{}' ({} MiB on the source)",
                  theirs.name, theirs.size_bytes / kMiB);
    }
    if (ours->size_bytes() != theirs.size_bytes) {
      return fail(Errc::kRefused,
                  "RAM block '{}' has {} bytes on the source and {} on the destination",
                  theirs.name, theirs.size_bytes, ours->size_bytes());
    }
    if (ours->page_size_bytes != theirs.page_size_bytes) {
      return fail(
          Errc::kRefused,
          "RAM block '{}' has {} KiB pages on the source and {} KiB pages on the destination: "
          "back both by the same page size",
          theirs.name, theirs.page_size_bytes / kKiB, ours->page_size_bytes / kKiB);
    }
  }
  if (offer.blocks.size() != memory.size()) {
    return fail(Errc::kRefused, "the source has {} RAM blocks, the destination {}",
                offer.blocks.size(), memory.size());
  }
  // Blocks are named by their place from here on.
  for (size_t i = 0; i < memory.size(); ++i) {
    if (memory[i].name != offer.blocks[i].name) {
      return fail(Errc::kRefused,
                  "RAM blocks come in another order: '{}' on the source, '{}' on the destination; "
                  "give both QEMUs the same command line",
                  offer.blocks[i].name, memory[i].name);
    }
  }
  return {};
}

// Which lanes really come, the source knows best.
Status DestinationMigration::await_lanes() {
  ASSIGN_OR_RETURN(const ControlMessage message, next_message(Deadline::max()));
  if (!std::holds_alternative<LanesReady>(message)) {
    return fail(Errc::kCorrupt, "the source sent a message out of turn: {} instead of LanesReady",
                name_of(message));
  }
  report_.setup_ms = to_milliseconds(Clock::now() - begin_);
  // Storage for it is had now, and not page by page while the guest stands still.
  device_state_.resize(std::min(kUsualStateBytes, options_.device_state_bytes_max));
  device_state_.clear();
  enter(DestinationState::kReceiving);
  return {};
}

Result<ControlMessage> DestinationMigration::next_message(Deadline deadline) {
  while (true) {
    ASSIGN_OR_RETURN(ControlMessage message, link_->next(deadline));
    const auto* close = std::get_if<CloseLane>(&message);
    if (close == nullptr) return message;
    RETURN_IF_ERROR(take(*close));
  }
}

Status DestinationMigration::take(const CloseLane& lane) {
  if (lanes_ != nullptr) lanes_->close(lane.lane);
  return link_->send(LaneClosed{lane.lane, {}});
}

Status DestinationMigration::receive_memory_and_state() {
  while (true) {
    // No limit of its own: a migration takes as long as it takes, and the link notices a dead peer.
    ASSIGN_OR_RETURN(ControlMessage message, next_message(Deadline::max()));
    if (const auto* piece = std::get_if<StatePiece>(&message)) {
      RETURN_IF_ERROR(take(*piece));
    } else if (const auto* end = std::get_if<StateEnd>(&message)) {
      RETURN_IF_ERROR(take(*end));
    } else if (const auto* offer = std::get_if<PreparePostCopy>(&message)) {
      RETURN_IF_ERROR(take(*offer));
    } else if (const auto* missing = std::get_if<MissingPages>(&message)) {
      RETURN_IF_ERROR(take(*missing));
    } else if (std::holds_alternative<VerifyRequest>(message)) {
      enter(DestinationState::kVerifying);
    } else if (const auto* hashes = std::get_if<VerifyHashes>(&message)) {
      RETURN_IF_ERROR(compare_hashes(*hashes));
    } else if (std::holds_alternative<MemoryComplete>(message)) {
      if (!device_state_complete_ || chunks_to_verify_ != 0) {
        return fail(Errc::kCorrupt, "the source says that all memory is there, but {} is missing",
                    device_state_complete_ ? "the verification" : "the device state");
      }
      return {};
    } else {
      return fail(Errc::kCorrupt, "the source sent a message out of turn: {}", name_of(message));
    }
  }
}

// That it cannot be is no failure: the source may have other ways.
Status DestinationMigration::take(const PreparePostCopy& offer) {
  if (post_copy_ != nullptr) return fail(Errc::kCorrupt, "post-copy is prepared already");
  report_.post_copy.emplace();
  auto post_copy = std::make_unique<DestinationPostCopy>(
      DestinationPostCopy::Parts{.memory = parts_.guest.memory(),
                                 .start_guest = [this] { return parts_.guest.start(); },
                                 .rails = parts_.rails,
                                 .observer = parts_.observer,
                                 .commit_log = parts_.commit_log,
                                 .reconnector = parts_.reconnector,
                                 .report = report_},
      options_);
  Result<std::unique_ptr<PageFaults>> faults = parts_.guest.page_faults();
  const Status prepared = faults ? post_copy->prepare(std::move(*faults), offer, rails_)
                                 : Status(tl::unexpected<Error>(faults.error()));
  if (prepared) {
    RETURN_IF_ERROR(parts_.commit_log.record_recovery(parts_.guest.recovery_record()));
    post_copy_ = std::move(post_copy);
    return link_->send(PostCopyPrepared{});
  }
  report_.post_copy.reset();
  if (prepared.error().code != Errc::kRefused) return prepared;
  return link_->send(PostCopyPrepared{.reason = std::string(prepared.error().text())});
}

Status DestinationMigration::take(const MissingPages& missing) {
  if (post_copy_ == nullptr) return fail(Errc::kCorrupt, "missing pages without post-copy");
  return post_copy_->take(missing);
}

Status DestinationMigration::fetch(const FetchLane& lane, size_t rail, Endpoint& endpoint,
                                   const std::stop_token& stop) {
  // Lanes for it come only after we have said that it is prepared.
  if (post_copy_ == nullptr) return fail(Errc::kCorrupt, "a fetch lane without post-copy");
  return post_copy_->fetch(lane, rail, endpoint, stop);
}

Status DestinationMigration::take(const StatePiece& piece) {
  RETURN_IF_ERROR(prepare_guest());
  if (device_state_complete_ ||
      device_state_.size() + piece.content.size() > options_.device_state_bytes_max) {
    return fail(Errc::kCorrupt, "more device state than the {} MiB that are accepted",
                options_.device_state_bytes_max / kMiB);
  }
  device_state_.insert(device_state_.end(), piece.content.begin(), piece.content.end());
  return {};
}

Status DestinationMigration::take(const StateEnd& end) {
  if (end.total_bytes != device_state_.size() ||
      end.xxh3 != XXH3_64bits(device_state_.data(), device_state_.size())) {
    return fail(Errc::kCorrupt, "the device state arrived damaged: {} bytes of {}",
                device_state_.size(), end.total_bytes);
  }
  device_state_complete_ = true;
  report_.device_state_bytes = end.total_bytes;
  return {};
}

// With the first device state, when the source's guest stands still and its last memory is on the
// way: until then a failure leaves the VMM waiting, as it was found.
Status DestinationMigration::prepare_guest() {
  if (guest_prepared_) return {};
  guest_prepared_ = true;
  return parts_.guest.prepare();
}

Status DestinationMigration::compare_hashes(const VerifyHashes& theirs) {
  const GuestMemory& memory = parts_.guest.memory();
  const bool known = theirs.block < memory.size();
  const uint64_t chunks = known ? verify_chunk_count(memory[theirs.block]) : 0;
  if (!known || theirs.first_chunk > chunks || theirs.hashes.size() > chunks - theirs.first_chunk ||
      theirs.hashes.size() > chunks_to_verify_) {
    return fail(Errc::kCorrupt, "the source sent hashes of memory that does not exist");
  }
  const GuestBlock& block = memory[theirs.block];
  PageBitmap present(block.page_count());
  RETURN_IF_ERROR(find_present_pages(block, present));
  const std::vector<uint64_t> ours =
      hash_chunks(block, present, theirs.first_chunk, theirs.hashes.size());
  for (size_t i = 0; i < ours.size(); ++i) {
    const uint64_t begin = (theirs.first_chunk + i) * kVerifyChunkBytes;
    verified_.checked_bytes += std::min(kVerifyChunkBytes, block.size_bytes() - begin);
    if (ours[i] == theirs.hashes[i]) continue;
    if (verified_.mismatches++ == 0) {
      first_mismatch_ = fmt::format("RAM block '{}', the 2 MiB at {:#x}", block.name, begin);
    }
  }
  chunks_to_verify_ -= ours.size();
  if (chunks_to_verify_ > 0) return {};
  report_.verify = verified_;
  return link_->send(VerifyResult{.checked_bytes = verified_.checked_bytes,
                                  .mismatches = verified_.mismatches,
                                  .first_mismatch = first_mismatch_});
}

// From then on no peer can reach the guest's memory any more: without a lane no key opens it. To
// unregister it takes longer, and can wait until the guest runs. The source has written all that it
// writes when the VMM loads, which takes as long as this does.
void DestinationMigration::close_lanes() {
  if (post_copy_ == nullptr) lanes_.reset();
}

Status DestinationMigration::load_state() {
  enter(DestinationState::kLoadingState);
  if (post_copy_ != nullptr) {
    lanes_->close_writers();
    post_copy_->begin();
  }
  RETURN_IF_ERROR(prepare_guest());
  const Clock::time_point start = Clock::now();
  {
    std::optional<DestinationPostCopy::Watch> watch;
    if (post_copy_ != nullptr) watch.emplace(*post_copy_, interruption_);
    RETURN_IF_ERROR(parts_.guest.load_state(device_state_, [this] { close_lanes(); }));
  }
  // The point of no return of this side: once *ready* is sent the decision is the source's alone.
  RETURN_IF_ERROR(interruption_.seal());
  enter(DestinationState::kReady);
  return link_->send(Ready{.load_ms = to_milliseconds(Clock::now() - start)});
}

Status DestinationMigration::await_commit() {
  ASSIGN_OR_RETURN(const ControlMessage message, next_message(Deadline::max()));
  if (!std::holds_alternative<Commit>(message)) {
    return fail(Errc::kCorrupt, "the source sent a message out of turn: {} instead of Commit",
                name_of(message));
  }
  const Status recorded = parts_.commit_log.record_commit();
  enter(DestinationState::kCommitted);
  if (!recorded) return give_back(recorded.error());
  return {};
}

Status DestinationMigration::start_guest() {
  const Clock::time_point start = Clock::now();
  const Status started = parts_.guest.start();
  if (!started && started.error().code == Errc::kPeerLost) {
    RETURN_IF_ERROR(parts_.commit_log.record_return());
    return give_back(started.error());
  }
  RETURN_IF_ERROR(started);
  const double start_ms = to_milliseconds(Clock::now() - start);
  enter(DestinationState::kRunning);
  // A source that is gone by now is in doubt; the guest runs.
  (void)link_->send(Running{.start_ms = start_ms});
  // Where it cannot be written down, an agent that took over would make sure that the guest runs.
  if (post_copy_ != nullptr) (void)parts_.commit_log.record_started();
  return {};
}

// Until everything is here. A connection that is lost once we have said *ready* is awaited again:
// the source says then what it decided.
Status DestinationMigration::finish_by_post_copy() {
  using Guest = DestinationPostCopy::Guest;
  Guest guest = Guest::kUncommitted;
  Status status = await_commit();
  if (status) {
    status = start_guest();
    guest = status ? Guest::kStarted : Guest::kCommitted;
    // A VMM that does not answer waits for pages: it is told again, while they are fetched.
    if (!status && status.error().code == Errc::kTimeout) status = {};
  }
  if (!status) {
    const bool lost = guest == Guest::kUncommitted && status.error().code == Errc::kPeerLost &&
                      state_ == DestinationState::kReady && !link_->peer_gave_up();
    if (!lost || parts_.reconnector == nullptr) return status;
    lanes_.reset();
    link_.reset();
  } else {
    enter(DestinationState::kPostCopy);
  }
  RETURN_IF_ERROR(post_copy_->run(report_.session, guest, link_, lanes_));
  enter(DestinationState::kCompleted);
  report_.status = MigrationStatus::kCompleted;
  return {};
}

// The guest is ours, but was never told to run, and our session does not say that it is ours: so
// nothing that comes after us starts it either, and the source may have it back.
Status DestinationMigration::give_back(const Error& error) {
  given_back_ = true;
  (void)link_->send(Returned{to_string(error)});
  return tl::unexpected<Error>(error);
}

void DestinationMigration::give_up(const Error& error) {
  report_.error = error;
  if (link_ == nullptr || state_ == DestinationState::kPostCopy) {
    // In post-copy, with the guest partly here: nothing is given back.
    report_.status = MigrationStatus::kInDoubt;
    return enter(DestinationState::kInDoubt);
  }
  const bool aborted_by_source = link_->peer_gave_up();
  switch (state_) {
    case DestinationState::kReady:
      if (!aborted_by_source) {
        // The source may or may not have committed. Only it knows; keep the guest as it is.
        report_.status = MigrationStatus::kInDoubt;
        return enter(DestinationState::kInDoubt);
      }
      break;
    case DestinationState::kCommitted:
      if (given_back_) break;
      // This side owns the guest and could not start it. Tell the source, but never give it back.
      (void)link_->send(Abort{error.code, to_string(error)});
      report_.status = MigrationStatus::kInDoubt;
      return enter(DestinationState::kInDoubt);
    default:
      break;
  }
  if (post_copy_ != nullptr) post_copy_->abandon();
  lanes_.reset();
  rails_ = {};
  if (!aborted_by_source && !given_back_) {
    if (error.code == Errc::kRefused) {
      (void)link_->send(Refuse{to_string(error)});
    } else {
      (void)link_->send(Abort{error.code, to_string(error)});
    }
  }
  if (guest_prepared_) (void)parts_.guest.abandon();
  report_.status = status_before_commit(error);
  enter(DestinationState::kFailed);
}

void DestinationMigration::enter(DestinationState state) {
  state_ = state;
  parts_.observer.on_state(to_string(state));
}

}  // namespace godwit
