// SPDX-License-Identifier: Apache-2.0
//
// The switchover: the last memory, device state, proof, and the hand-over of ownership.
//
// Order matters. The VMM may write guest memory while it stops and while it saves its devices, so
// memory is scanned after the pause and once more after the device state; the destination loads
// only when all memory is in place, since loading reads and writes it. What the first of these
// scans found travels while the VMM saves its devices.
#include <xxhash.h>

#include <algorithm>

#include "engine/migration/source_migration.h"
#include "engine/migration/verification.h"

namespace godwit {

namespace {

// Loading device state has no natural limit; a dead destination is noticed by the link long before.
constexpr Clock::duration kLoadMax = seconds(60);
constexpr Clock::duration kStartMax = seconds(30);
constexpr uint64_t kHashesPerMessage = 256;  // 512 MiB of guest memory

}  // namespace

Status SourceMigration::final_memory() {
  enter(SourceState::kPausing);
  if (!guest_paused_) {
    RETURN_IF_ERROR(pause_guest());
    // Everything reported live since the last drain has landed now, and is sent with the rest.
    unite(pending_.written, pending_.unsettled);
    clear(pending_.unsettled);
    RETURN_IF_ERROR(collect_written());
  }
  RETURN_IF_ERROR(interruption_.check());
  enter(SourceState::kFinalMemory);
  GuestPageSet punched;
  if (parts_.guest.discards() == Discards::kPossible) {
    ASSIGN_OR_RETURN(punched, punched_pages());
    subtract(pending_.written, punched);
    subtract(pending_.torn, punched);
  }
  // Live: the VMM may write guest memory while it saves its devices, which happens at the same
  // time.
  return begin_round(RoundKind::kFinal, take_pending(RoundKind::kFinal), std::move(punched),
                     SourceMemory::kLive);
}

// A hole that was punched is not a write: what is a hole now and was not when it was sent has to
// become zero over there.
Result<GuestPageSet> SourceMigration::punched_pages() const {
  const GuestMemory& memory = parts_.guest.memory();
  GuestPageSet punched = present_;
  for (size_t block = 0; block < memory.size(); ++block) {
    PageBitmap now(memory[block].page_count());
    RETURN_IF_ERROR(find_present_pages(memory[block], now));
    punched[block].subtract(now);
  }
  return punched;
}

Status SourceMigration::save_state() {
  RETURN_IF_ERROR(send_device_state());
  RETURN_IF_ERROR(finish_round());
  // What saving the devices wrote. Nothing writes any more.
  RETURN_IF_ERROR(collect_written());
  GuestPageSet rest = take_pending(RoundKind::kFinal);
  if (count_pages(rest) == 0) return {};
  RETURN_IF_ERROR(begin_round(RoundKind::kFinal, std::move(rest), {}, SourceMemory::kFrozen));
  return finish_round();
}

Status SourceMigration::send_device_state() {
  enter(SourceState::kSavingState);
  // The first piece makes the destination prepare its VMM: sooner than ours has anything to say.
  RETURN_IF_ERROR(link_->send(StatePiece{}));
  XXH3_state_t* hash = XXH3_createState();
  XXH3_64bits_reset(hash);
  uint64_t total = 0;
  const Status saved = parts_.guest.save_state([&](std::span<const std::byte> piece) -> Status {
    RETURN_IF_ERROR(interruption_.check());
    XXH3_64bits_update(hash, piece.data(), piece.size());
    total += piece.size();
    while (!piece.empty()) {
      const size_t size = std::min(piece.size(), kStatePieceBytesMax);
      RETURN_IF_ERROR(
          link_->send(StatePiece{{piece.begin(), piece.begin() + static_cast<long>(size)}}));
      piece = piece.subspan(size);
    }
    return {};
  });
  const uint64_t digest = XXH3_64bits_digest(hash);
  XXH3_freeState(hash);
  RETURN_IF_ERROR(saved);
  report_.device_state_bytes = total;
  return link_->send(StateEnd{.total_bytes = total, .xxh3 = digest});
}

Status SourceMigration::verify() {
  if (options_.verification == Verification::kOff) return {};
  enter(SourceState::kVerifying);
  RETURN_IF_ERROR(link_->send(VerifyRequest{.chunk_bytes = kVerifyChunkBytes}));
  const GuestMemory& memory = parts_.guest.memory();
  for (uint32_t block = 0; block < memory.size(); ++block) {
    PageBitmap present(memory[block].page_count());
    RETURN_IF_ERROR(find_present_pages(memory[block], present));
    const uint64_t chunks = verify_chunk_count(memory[block]);
    for (uint64_t first = 0; first < chunks; first += kHashesPerMessage) {
      RETURN_IF_ERROR(interruption_.check());
      RETURN_IF_ERROR(link_->send(
          VerifyHashes{.block = block,
                       .first_chunk = first,
                       .hashes = hash_chunks(memory[block], present, first,
                                             std::min(kHashesPerMessage, chunks - first))}));
    }
  }
  ASSIGN_OR_RETURN(const VerifyResult result, link_->expect<VerifyResult>(Deadline::max()));
  report_.verify = VerifyReport{result.checked_bytes, result.mismatches};
  if (result.mismatches > 0) {
    return fail(
        Errc::kCorrupt,
        "verification failed: {} pieces of 2 MiB differ, the first is {}; the guest stays here",
        result.mismatches, result.first_mismatch);
  }
  return {};
}

Status SourceMigration::hand_over() {
  enter(SourceState::kAwaitingReady);
  RETURN_IF_ERROR(link_->send(
      MemoryComplete{.pages_written = report_.pages_sent, .zero_pages = report_.zero_pages}));
  ASSIGN_OR_RETURN(const Ready ready, link_->expect<Ready>(deadline_in(kLoadMax)));
  (void)ready;

  // From here on a cancel comes too late; one that came before wins.
  RETURN_IF_ERROR(interruption_.seal());
  RETURN_IF_ERROR(parts_.commit_log.record_commit());
  enter(SourceState::kCommitted);
  const Status sent = link_->send(Commit{});
  // In post-copy a lost connection is replaced, and the commit said again.
  if (!sent && post_copy_ == nullptr) return sent;
  const Deadline answer_deadline = deadline_in(kStartMax);
  Result<ControlMessage> answer = link_->next(answer_deadline);
  // A VMM may have to wait for pages before it runs the guest: they are fetched meanwhile.
  while (post_copy_ != nullptr && answer && std::holds_alternative<FetchProgress>(*answer))
    answer = link_->next(answer_deadline);
  if (answer && std::holds_alternative<Returned>(*answer)) {
    return take_back(std::get<Returned>(*answer).reason);
  }
  const bool runs = answer && std::holds_alternative<Running>(*answer);
  if (runs) ran_there();
  const bool gave_up = link_->peer_gave_up();
  if (post_copy_ != nullptr && !gave_up && (runs || !answer)) return serve_the_rest();
  if (!runs) {
    return fail(Errc::kInDoubt,
                "the guest was handed over, but whether it runs there is not known ({}); it stays "
                "paused here and must not be resumed unless the destination's guest is gone",
                answer ? "its answer makes no sense" : to_string(answer.error()));
  }
  report_.status = MigrationStatus::kCompleted;
  enter(SourceState::kCompleted);
  return parts_.guest.release();
}

void SourceMigration::ran_there() {
  report_.downtime_ms = to_milliseconds(Clock::now() - paused_at_);
  report_.downtime_start_ms = to_milliseconds(paused_at_ - begin_);
}

// The destination has promised that the guest neither ran there nor will. Returns the error that
// ends the migration, with the guest ours again.
Status SourceMigration::take_back(const std::string& reason) {
  RETURN_IF_ERROR(parts_.commit_log.record_return());
  enter(SourceState::kAwaitingReady);
  return fail(Errc::kPeerLost, "the destination could not start the guest and gave it back: {}",
              reason);
}

}  // namespace godwit
