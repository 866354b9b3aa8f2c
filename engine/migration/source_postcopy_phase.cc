// SPDX-License-Identifier: Apache-2.0
//
// How a migration of the source goes over into post-copy: the preparation while the guest still
// runs, the switchover, and the time until the destination has everything (source_post_copy.h).
#include <unistd.h>

#include <algorithm>

#include "engine/migration/source_migration.h"

namespace godwit {
namespace {

// The destination empties its VMM's mappings, which takes 25 ms/GiB.
constexpr Clock::duration kPrepareMax = seconds(60);
// The device state, and a fault or two while it is loaded.
constexpr double kSwitchoverS = 0.02;

// Adds the pages that were holes when `present` was found and are none any more. Looks at the holes
// only: with few of them that takes microseconds, where looking at everything takes milliseconds.
Status find_filled_holes(const GuestBlock& block, PageBitmap& present) {
  if (block.fd < 0) return {};
  PageBitmap holes(block.page_count());
  holes.set_all();
  holes.subtract(present);
  const uint64_t end = block.page_count();
  for (auto hole = holes.next_run(0, end); hole;
       hole = holes.next_run(hole->first_page + hole->page_count, end)) {
    const uint64_t hole_end = hole->first_page + hole->page_count;
    for (uint64_t page = hole->first_page; page < hole_end;) {
      const off_t data = ::lseek(
          block.fd, static_cast<off_t>(block.fd_offset_bytes + page * block.page_size_bytes),
          SEEK_DATA);
      if (data < 0 && errno == ENXIO) break;
      if (data < 0) return fail_errno(errno, "SEEK_DATA in RAM block '{}'", block.name);
      page = (static_cast<uint64_t>(data) - block.fd_offset_bytes) / block.page_size_bytes;
      if (page < hole_end) present.set(page++);
    }
  }
  return {};
}

}  // namespace

// Tells the destination to make ready. The answer is awaited later.
Status SourceMigration::begin_post_copy() {
  report_.post_copy.emplace();
  post_copy_ =
      std::make_unique<SourcePostCopy>(SourcePostCopy::Parts{.memory = parts_.guest.memory(),
                                                             .rails = parts_.rails,
                                                             .observer = parts_.observer,
                                                             .reconnector = parts_.reconnector,
                                                             .report = report_},
                                       options_);
  RETURN_IF_ERROR(parts_.commit_log.record_recovery(parts_.guest.recovery_record()));
  ASSIGN_OR_RETURN(const PreparePostCopy offer, post_copy_->open_rails(rails_));
  return link_->send(offer);
}

// On return the fetch lanes are there. Errors: kRefused when the destination cannot do it, and
// nothing has changed.
Status SourceMigration::await_post_copy_prepared() {
  ASSIGN_OR_RETURN(const PostCopyPrepared prepared,
                   link_->expect<PostCopyPrepared>(deadline_in(kPrepareMax)));
  if (!prepared.reason.empty())
    return fail(Errc::kRefused, "the destination cannot take the guest by post-copy: {}",
                prepared.reason);
  return post_copy_->open_lanes(*connector_, deadline_in(options_.peer_timeout));
}

// --post-copy now: nothing is sent before, but where the guest has holes.
Status SourceMigration::prepare_at_once() {
  enter(SourceState::kPrecopy);
  RETURN_IF_ERROR(begin_post_copy());
  const GuestMemory& memory = parts_.guest.memory();
  pending_ = {empty_page_set(memory), empty_page_set(memory), empty_page_set(memory)};
  present_ = empty_page_set(memory);
  ASSIGN_OR_RETURN(GuestPageSet holes, find_holes());
  RETURN_IF_ERROR(
      begin_round(RoundKind::kLive, empty_page_set(memory), std::move(holes), SourceMemory::kLive));
  RETURN_IF_ERROR(finish_round());
  return await_post_copy_prepared();
}

// What remains is sent once more, live, while the destination prepares. Where it turns out that it
// cannot, post_copy_ is null on return, and the guest runs.
Status SourceMigration::last_round_before_post_copy() {
  // This round, then what is dirtied meanwhile, each as long as what remains now.
  const double round_s = static_cast<double>(remaining_bytes_) / bandwidth();
  report_.predicted_total_ms =
      to_milliseconds(Clock::now() - begin_) + (2 * round_s + kSwitchoverS) * 1e3;
  RETURN_IF_ERROR(begin_post_copy());
  RETURN_IF_ERROR(send_round(0));
  const Status prepared = await_post_copy_prepared();
  if (prepared || prepared.error().code != Errc::kRefused) return prepared;
  post_copy_.reset();
  report_.post_copy.reset();
  report_.predicted_total_ms = 0;
  report_.post_copy_note = prepared.error().text();
  return {};
}

// What the destination does not have. Requires: nobody writes guest memory any more.
Result<GuestPageSet> SourceMigration::missing_pages() {
  const GuestMemory& memory = parts_.guest.memory();
  if (options_.post_copy == PostCopy::kNow) {
    for (size_t block = 0; block < memory.size(); ++block)
      RETURN_IF_ERROR(find_filled_holes(memory[block], present_[block]));
    return std::move(present_);
  }
  RETURN_IF_ERROR(collect_written());
  GuestPageSet missing = take_pending(RoundKind::kFinal);
  unite(missing, pending_.unsettled);
  if (parts_.guest.discards() == Discards::kPossible) {
    // A hole reads as zero, which is what the page has to become.
    ASSIGN_OR_RETURN(const GuestPageSet punched, punched_pages());
    unite(missing, punched);
  }
  return missing;
}

Status SourceMigration::switch_to_post_copy() {
  enter(SourceState::kPausing);
  if (!guest_paused_) RETURN_IF_ERROR(pause_guest());
  RETURN_IF_ERROR(interruption_.check());
  RETURN_IF_ERROR(send_device_state());
  ASSIGN_OR_RETURN(GuestPageSet missing, missing_pages());
  RETURN_IF_ERROR(post_copy_->send_missing(*link_, missing));
  if (options_.post_copy == PostCopy::kNow) post_copy_->look_for_zeroes(std::move(missing));
  // From here on the destination closes lanes that nobody needs to open again.
  closed_lanes_.end();
  return hand_over();
}

// The guest is the destination's, whether its answer came or not.
Status SourceMigration::serve_the_rest() {
  report_rails();
  lanes_.reset();
  (void)parts_.guest.dirty_tracker().stop();
  RETURN_IF_ERROR(post_copy_->run(link_));
  report_.status = MigrationStatus::kCompleted;
  state_ = SourceState::kCompleted;  // which the observer knows
  return parts_.guest.release();
}

}  // namespace godwit
