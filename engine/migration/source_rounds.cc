// SPDX-License-Identifier: Apache-2.0
//
// Pre-copy: arming, the first round, and the rounds after it until little remains. Why the guest is
// paused for the scans is explained in source_migration.h.
#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/migration/source_migration.h"

namespace godwit {

namespace {

// A paused scan may cost this much guest time; guests whose scan takes longer are scanned live.
constexpr Clock::duration kPausedScanMax = milliseconds(40);
// A clean scan, until one was measured (dirty-bit harvest of 4 KiB pages: 0.7 ms/GiB).
constexpr nanoseconds kScanPerGib = microseconds(700);
// Saving and loading device state, until the switchover tells what it really took.
constexpr double kDeviceStateS = 0.010;
// A round shorter than this says little about the link.
constexpr uint64_t kBytesToMeasureBandwidth = 16 * kMiB;

}  // namespace

Status SourceMigration::arm() {
  enter(SourceState::kArming);
  const GuestMemory& memory = parts_.guest.memory();
  pending_ = {empty_page_set(memory), empty_page_set(memory), empty_page_set(memory)};
  present_ = empty_page_set(memory);
  hot_pages_.emplace(memory);
  RETURN_IF_ERROR(parts_.guest.dirty_tracker().start());
  last_scan_ = Clock::now();
  scan_time_ = duration_cast<Clock::duration>(kScanPerGib * (report_.ram_bytes / kGiB));
  if (options_.quiescing == Quiescing::kOff) return {};
  // Whatever was in flight while arming lands now.
  RETURN_IF_ERROR(pause_guest());
  RETURN_IF_ERROR(resume_guest());
  pause_time_ = Clock::now() - paused_at_;
  return {};
}

// Fills present_, and returns the rest. The first page can leave from then on.
Result<GuestPageSet> SourceMigration::find_holes() {
  const GuestMemory& memory = parts_.guest.memory();
  GuestPageSet holes = empty_page_set(memory);
  for (size_t block = 0; block < memory.size(); ++block) {
    RETURN_IF_ERROR(find_present_pages(memory[block], present_[block]));
    holes[block].set_all();
    holes[block].subtract(present_[block]);
  }
  report_.hole_bytes = count_bytes(memory, holes);
  report_.setup_ms = to_milliseconds(Clock::now() - begin_);
  return holes;
}

Status SourceMigration::send_first_round() {
  ASSIGN_OR_RETURN(GuestPageSet holes, find_holes());
  remaining_at_round_start_ = remaining_bytes_ = count_bytes(parts_.guest.memory(), present_);

  RETURN_IF_ERROR(
      begin_round(RoundKind::kLive, GuestPageSet(present_), std::move(holes), SourceMemory::kLive));
  return finish_round();
}

Status SourceMigration::copy_until_little_remains() {
  enter(SourceState::kPrecopy);
  RETURN_IF_ERROR(send_first_round());
  const GuestMemory& memory = parts_.guest.memory();
  uint64_t previous_remaining = remaining_bytes_;
  uint32_t stuck_rounds = 0;
  precopy::PolicyLimits limits = options_.limits;
  limits.post_copy = options_.post_copy == PostCopy::kAuto;
  while (true) {
    RETURN_IF_ERROR(scan_between_rounds());
    GuestPageSet remaining = pending_.written;
    unite(remaining, pending_.torn);
    unite(remaining, pending_.unsettled);
    remaining_bytes_ = count_bytes(memory, remaining);
    const precopy::Verdict verdict = precopy::decide(
        {.round = round_,
         .remaining_bytes = remaining_bytes_,
         .previous_remaining_bytes = previous_remaining,
         .stuck_rounds = stuck_rounds,
         .bandwidth_bytes_per_s = bandwidth(),
         .dirty_bytes_per_s = dirty_bytes_per_s_,
         .sent_bytes = report_.bytes_sent,
         .memory_bytes = report_.ram_bytes,
         .fixed_downtime_s = kDeviceStateS + to_seconds(pause_time_) + to_seconds(scan_time_)},
        limits);
    previous_remaining = remaining_bytes_;
    stuck_rounds = verdict.stuck_rounds;
    report_.predicted_downtime_ms = verdict.predicted_downtime_s * 1e3;

    switch (verdict.decision) {
      case precopy::Decision::kSwitchOver:
        return {};
      case precopy::Decision::kGiveUp:
        return fail(
            Errc::kGuest,
            "the guest dirties memory faster than it can be moved: after {} rounds {} MiB "
            "remain ({:.0f} MiB/s are dirtied, the link carries {:.0f} MiB/s), a downtime of "
            "{:.0f} ms against the limit of {:.0f} ms; raise --downtime-limit or quieten the "
            "guest",
            round_, remaining_bytes_ / kMiB, dirty_bytes_per_s_ / static_cast<double>(kMiB),
            bandwidth() / static_cast<double>(kMiB), report_.predicted_downtime_ms,
            options_.limits.downtime_s_max * 1e3);
      case precopy::Decision::kPostCopy:
        RETURN_IF_ERROR(last_round_before_post_copy());
        if (post_copy_ != nullptr) return {};
        limits.post_copy = false;  // the destination cannot
        continue;
      case precopy::Decision::kNextRound:
        break;
    }
    RETURN_IF_ERROR(send_round(verdict.stall_s));
  }
}

// Leaves the guest paused where the scan could be done in a pause.
Status SourceMigration::scan_between_rounds() {
  RETURN_IF_ERROR(interruption_.check());
  if (options_.quiescing == Quiescing::kOff) return collect_written();

  RETURN_IF_ERROR(pause_guest());
  // The pages of the last live scan have their content now: they are to be sent again.
  unite(pending_.written, pending_.unsettled);
  clear(pending_.unsettled);
  if (scan_time_ <= kPausedScanMax) return collect_written();

  RETURN_IF_ERROR(resume_guest());
  GuestPageSet before = pending_.written;
  clear(pending_.written);
  RETURN_IF_ERROR(collect_written());
  pending_.unsettled = pending_.written;
  unite(pending_.written, before);
  return {};
}

Status SourceMigration::collect_written() {
  const GuestMemory& memory = parts_.guest.memory();
  const Clock::time_point start = Clock::now();
  GuestPageSet written = empty_page_set(memory);
  RETURN_IF_ERROR(parts_.guest.dirty_tracker().collect(written));
  const Clock::time_point end = Clock::now();
  scan_time_ = end - start;
  dirty_bytes_per_s_ = static_cast<double>(count_bytes(memory, written)) /
                       std::max(to_seconds(end - last_scan_), 1e-6);
  last_scan_ = end;
  unite(pending_.written, written);
  hot_pages_->observe(written);
  // A page that is written has storage, whatever it was before.
  unite(present_, written);
  return {};
}

// The first part of the round travels while the guest stands still, if that is what the policy
// wants.
Status SourceMigration::send_round(double stall_s) {
  const RoundKind kind =
      options_.quiescing == Quiescing::kOn ? RoundKind::kQuiesced : RoundKind::kLive;
  RETURN_IF_ERROR(begin_round(kind, take_pending(kind), {}, SourceMemory::kLive));
  if (guest_paused_) {
    if (stall_s > 0) (void)lanes_->done_by(deadline_in(from_seconds(stall_s)));
    RETURN_IF_ERROR(resume_guest());
    sending_report_.pause_ms = to_milliseconds(Clock::now() - paused_at_);
  }
  return finish_round();
}

// Takes what the round has to send out of the pending pages. Hot ones stay there until the last
// round.
GuestPageSet SourceMigration::take_pending(RoundKind kind) {
  GuestPageSet pages = empty_page_set(parts_.guest.memory());
  std::swap(pages, pending_.written);
  unite(pages, pending_.torn);
  clear(pending_.torn);
  if (kind != RoundKind::kFinal) {
    pending_.written = hot_pages_->held_back(pages);
    subtract(pages, pending_.written);
  }
  return pages;
}

// `zeroes` is empty, or the pages that are known to be zero.
Status SourceMigration::begin_round(RoundKind kind, GuestPageSet pages, GuestPageSet zeroes,
                                    SourceMemory memory) {
  ++round_;
  sending_ = std::move(pages);
  sending_zeroes_ = std::move(zeroes);
  sending_report_ = {.kind = kind,
                     .dirty_pages = count_pages(sending_),
                     .start_ms = to_milliseconds(Clock::now() - begin_)};
  remaining_at_round_start_ = remaining_bytes_;
  return lanes_->begin({.pages = &sending_,
                        .zeroes = sending_zeroes_.empty() ? nullptr : &sending_zeroes_,
                        .memory = memory,
                        .round = round_},
                       pending_.torn);
}

Status SourceMigration::finish_round() {
  ASSIGN_OR_RETURN(const precopy::TransferResult result,
                   lanes_->finish([this] { show_progress(); }));
  report_.bytes_sent += result.counters.bytes_sent;
  report_.pages_sent += result.counters.pages_sent;
  report_.zero_pages += result.counters.zero_pages;
  report_.torn_pages += result.counters.torn_pages;
  transfer_time_ += result.duration;
  if (result.counters.bytes_sent >= kBytesToMeasureBandwidth || measured_bandwidth_ == 0) {
    measured_bandwidth_ = static_cast<double>(result.counters.bytes_sent) /
                          std::max(to_seconds(result.duration), 1e-6);
  }
  sending_report_.bytes = result.counters.bytes_sent;
  sending_report_.ms = to_milliseconds(result.duration);
  report_.rounds.push_back(sending_report_);
  remaining_at_round_start_ = 0;  // until the next scan tells what was written meanwhile
  show_progress();
  return {};
}

// Before anything was measured, and for a guest that is all zeroes: any number that is not absurd.
double SourceMigration::bandwidth() const {
  return std::max(measured_bandwidth_, static_cast<double>(100 * kMiB));
}

void SourceMigration::show_progress() {
  const uint64_t sent = lanes_->bytes_sent();
  const uint64_t sent_in_round = sent - std::min(sent, report_.bytes_sent);
  const double elapsed_s = to_seconds(Clock::now() - begin_) - report_.setup_ms / 1e3;
  parts_.observer.on_progress(
      {.phase = state_ == SourceState::kPrecopy ? "pre-copy" : "switchover",
       .bytes_sent = sent,
       .bytes_remaining =
           remaining_at_round_start_ - std::min(sent_in_round, remaining_at_round_start_),
       .throughput_bytes_per_s = static_cast<double>(sent) / std::max(elapsed_s, 1e-3),
       .dirty_bytes_per_s = dirty_bytes_per_s_,
       .predicted_downtime_ms = report_.predicted_downtime_ms,
       .round = round_,
       .ram_bytes = report_.ram_bytes,
       .torn_pages = report_.torn_pages,
       .rails = describe_rails(lanes_->rails())});
}

}  // namespace godwit
