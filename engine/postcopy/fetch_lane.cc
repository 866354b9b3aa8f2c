// SPDX-License-Identifier: Apache-2.0
#include "engine/postcopy/fetch_lane.h"

#include <algorithm>

#include "engine/base/check.h"

namespace godwit::postcopy {
namespace {

// An operation's tag: its slot, and which piece of the claim it is.
constexpr unsigned kPieceBits = 32;
constexpr uint64_t make_tag(uint32_t slot, uint64_t piece) {
  return (uint64_t{slot} << kPieceBits) | piece;
}
constexpr uint32_t slot_of(uint64_t tag) {
  return static_cast<uint32_t>(tag >> kPieceBits);
}
constexpr uint64_t piece_of(uint64_t tag) {
  return tag & ((uint64_t{1} << kPieceBits) - 1);
}

constexpr size_t kBatch = 16;
// The source's memory stands still: a page that arrives damaged again and again is no accident.
constexpr uint32_t kTornMax = 100;
constexpr Clock::duration kLastWords = seconds(10);

}  // namespace

FetchLane::FetchLane(const Parts& parts, Endpoint& endpoint, const FetchRegions& regions)
    : parts_(parts), endpoint_(endpoint), regions_(regions) {
  for (uint32_t i = 0; i < kSlots; ++i) free_[i] = kSlots - 1 - i;
  unposted_.reserve(kSlots);
}

Status FetchLane::fetch(const Claim& claim) {
  CHECK(has_room());
  const uint32_t slot = free_[--free_count_];
  const uint64_t size = claim.pages.page_count * parts_.memory[claim.block].page_size_bytes;
  slots_[slot] = {.claim = claim, .posted_bytes = 0, .arrived_bytes = 0, .size_bytes = size};
  in_flight_bytes_ += size;
  return post_more(slot);
}

Status FetchLane::post_more(uint32_t index) {
  Slot& slot = slots_[index];
  std::array<TransferOp, kBatch> batch;
  while (slot.posted_bytes < slot.size_bytes) {
    size_t count = 0;
    for (uint64_t at = slot.posted_bytes; at < slot.size_bytes && count < kBatch;
         at += kOperationBytesMax) {
      batch[count++] = piece_at(index, at);
    }
    ASSIGN_OR_RETURN(const size_t accepted, endpoint_.post_reads(std::span(batch).first(count)));
    for (size_t i = 0; i < accepted; ++i) slot.posted_bytes += batch[i].size_bytes;
    if (accepted < count) {
      unposted_.push_back(index);
      return {};
    }
  }
  return {};
}

// The operation that reads the piece of the slot's claim which begins there.
TransferOp FetchLane::piece_at(uint32_t index, uint64_t at) const {
  const Slot& slot = slots_[index];
  const Claim& claim = slot.claim;
  const uint64_t begin = claim.pages.first_page * parts_.memory[claim.block].page_size_bytes;
  return {.local = regions_.local[claim.block],
          .local_offset_bytes = begin + at,
          .remote = regions_.remote[claim.block],
          .remote_offset_bytes = begin + at,
          .size_bytes = static_cast<uint32_t>(std::min(kOperationBytesMax, slot.size_bytes - at)),
          .tag = make_tag(index, at / kOperationBytesMax)};
}

Status FetchLane::take(Deadline deadline, const Arrived& arrived) {
  ASSIGN_OR_RETURN(const size_t count, endpoint_.poll(completions_, deadline));
  for (size_t i = 0; i < count; ++i) RETURN_IF_ERROR(account_for(completions_[i], arrived));
  if (!unposted_.empty()) {
    const uint32_t slot = unposted_.back();
    unposted_.pop_back();
    RETURN_IF_ERROR(post_more(slot));
  }
  return {};
}

Status FetchLane::account_for(const Completion& completion, const Arrived& arrived) {
  const uint32_t index = slot_of(completion.tag);
  Slot& slot = slots_[index];
  if (completion.status == OpStatus::kFlushed) {
    return fail(Errc::kPeerLost, "the connection ended while pages were being fetched");
  }
  const TransferOp piece = piece_at(index, piece_of(completion.tag) * kOperationBytesMax);
  if (completion.status == OpStatus::kTorn) {
    if (++torn_in_a_row_ > kTornMax)
      return fail(Errc::kCorrupt, "pages that nobody writes arrive damaged, again and again");
    ASSIGN_OR_RETURN(const size_t accepted, endpoint_.post_reads(std::span(&piece, 1)));
    if (accepted == 0) return fail(Errc::kPeerLost, "no room to ask for a damaged page again");
    return {};
  }
  torn_in_a_row_ = 0;
  slot.arrived_bytes += piece.size_bytes;
  return slot.arrived_bytes == slot.size_bytes ? finish(index, arrived) : Status();
}

Status FetchLane::finish(uint32_t index, const Arrived& arrived) {
  const Slot& slot = slots_[index];
  const Claim claim = slot.claim;
  parts_.ledger.mark_received(claim.block, claim.pages);
  in_flight_bytes_ -= slot.size_bytes;
  free_[free_count_++] = index;
  RETURN_IF_ERROR(parts_.faults.install(claim.block, claim.pages));
  arrived(claim);
  return {};
}

Status FetchLane::abandon() {
  if (abandoned_) return {};
  abandoned_ = true;
  endpoint_.shut_down();
  // Until the endpoint has said of each operation that it is over, its memory may still be written:
  // a page given back before could be overwritten in the guest's hands.
  const Deadline deadline = deadline_in(kLastWords);
  while (!idle()) {
    const Result<size_t> left = endpoint_.poll(completions_, deadline);
    if (!left) break;
    if (*left == 0 && Clock::now() >= deadline) {
      return fail(Errc::kSystem,
                  "a lost connection holds on to guest memory: the pages that were "
                  "on their way by it cannot be fetched again by this agent");
    }
  }
  std::array<bool, kSlots> is_free{};
  for (uint32_t i = 0; i < free_count_; ++i) is_free[free_[i]] = true;
  for (uint32_t i = 0; i < kSlots; ++i) {
    if (is_free[i]) continue;
    const Claim& claim = slots_[i].claim;
    parts_.ledger.give_back(claim.block, claim.pages);
    // Who waits for it asks again, and another lane takes it. A VMM that is gone does not ask.
    (void)parts_.faults.wake(claim.block, claim.pages);
  }
  free_count_ = kSlots;
  in_flight_bytes_ = 0;
  return {};
}

}  // namespace godwit::postcopy
