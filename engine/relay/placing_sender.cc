// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/placing_sender.h"

#include <algorithm>
#include <cstring>

#include "engine/base/check.h"
#include "engine/base/units.h"

namespace godwit::relay {
namespace {

constexpr size_t kBatchMax = 64;
// A slot with less room than this is left for the next: reads of a few bytes cost as much as
// others.
constexpr uint64_t kReadBytesMin = 64 * kKiB;
// How often a page that does not change is sent again when it arrives damaged.
constexpr int kAttemptsMax = 10;

}  // namespace

PlacingSender::PlacingSender(Parts parts)
    : parts_(std::move(parts)),
      in_flight_of_slot_(kSlots),
      lane_(parts_.endpoint, parts_.ring.size(), [this](const Completion& completion) {
        if (completion.tag < kSlots) --in_flight_of_slot_[completion.tag];
        parts_.torn.note(completion);
      }) {
  CHECK(parts_.staging.size() == kStagingBytes);
  pages_.reserve(kBatchMax);
  for (const Block& block : parts_.blocks)
    unsettled_.emplace_back(block.remote.size_bytes / kBasePageBytes);
}

Status PlacingSender::run() {
  return lane_.carry(
      parts_.stream, [this] { return read_some(); }, [this] { return finish(); });
}

Status PlacingSender::finish() {
  RETURN_IF_ERROR(parts_.extractor.finish(*this));
  RETURN_IF_ERROR(end_of_piece());
  return send_zeroes();
}

Result<VmmStream::State> PlacingSender::read_some() {
  if (kSlotBytes - slot_used_ < kReadBytesMin) RETURN_IF_ERROR(turn_to_free_slot());
  const std::span<std::byte> room =
      parts_.staging.subspan(slot_ * kSlotBytes + slot_used_, kSlotBytes - slot_used_);
  ASSIGN_OR_RETURN(const VmmStream::Progress progress, parts_.stream.read(room));
  if (progress.state == VmmStream::State::kOpen) {
    slot_used_ += progress.bytes;
    read_bytes_ += progress.bytes;
    count(parts_.counter, progress.bytes);
    RETURN_IF_ERROR(parts_.extractor.take_apart(room.first(progress.bytes), *this));
    RETURN_IF_ERROR(end_of_piece());
  }
  return progress.state;
}

Status PlacingSender::turn_to_free_slot() {
  // One that nothing is sent from is in the cache still.
  if (in_flight_of_slot_[slot_] > 0) slot_ = (slot_ + 1) % kSlots;
  while (in_flight_of_slot_[slot_] > 0) RETURN_IF_ERROR(lane_.wait_for_completion());
  slot_used_ = 0;
  return {};
}

// The piece may be written over when nothing of it is in flight.
Status PlacingSender::end_of_piece() {
  RETURN_IF_ERROR(post_pages());
  return push_passed();
}

Status PlacingSender::place(uint32_t block, uint64_t offset_bytes,
                            std::span<const std::byte> content) {
  const uint64_t page = offset_bytes / kBasePageBytes;
  // A page may come in parts, one after the other.
  const bool begins = block != placed_block_ || offset_bytes != placed_end_bytes_ ||
                      offset_bytes % kBasePageBytes == 0;
  if (begins && unsettled_[block].test(page)) RETURN_IF_ERROR(settle());
  placed_block_ = block;
  placed_end_bytes_ = offset_bytes + content.size();
  unsettled_[block].set(page);
  parts_.placed.set(block, {page, 1});
  placed_bytes_ += content.size();
  // Guest memory has all of the page when its first part comes.
  if (parts_.blocks[block].guest != nullptr)
    return begins ? append(write_of_page(block, page), block) : Status{};
  CHECK(content.data() >= parts_.staging.data() &&
        content.data() + content.size() <= parts_.staging.data() + parts_.staging.size());
  const auto at = static_cast<uint64_t>(content.data() - parts_.staging.data());
  return append({.local = &parts_.local,
                 .local_offset_bytes = parts_.ring.size() + at,
                 .remote = parts_.blocks[block].remote,
                 .remote_offset_bytes = offset_bytes,
                 .size_bytes = static_cast<uint32_t>(content.size()),
                 .tag = slot_},
                block);
}

TransferOp PlacingSender::write_of_page(uint32_t block, uint64_t page) const {
  return {.local = parts_.blocks[block].guest,
          .local_offset_bytes = page * kBasePageBytes,
          .remote = parts_.blocks[block].remote,
          .remote_offset_bytes = page * kBasePageBytes,
          .size_bytes = kBasePageBytes,
          .tag = TornPages::tag_of({block, page})};
}

Status PlacingSender::append(const TransferOp& operation, uint32_t block) {
  if (extends_last(operation, block)) {
    pages_.back().size_bytes += operation.size_bytes;
    return {};
  }
  const bool from_guest = operation.local != &parts_.local;
  const SourceMemory memory = from_guest ? SourceMemory::kLive : SourceMemory::kFrozen;
  if (pages_.size() == kBatchMax || memory != pages_memory_) RETURN_IF_ERROR(post_pages());
  pages_.push_back(operation);
  pages_memory_ = memory;
  last_block_ = block;
  return {};
}

bool PlacingSender::extends_last(const TransferOp& operation, uint32_t block) const {
  if (pages_.empty() || last_block_ != block) return false;
  const TransferOp& last = pages_.back();
  const bool same_slot = operation.tag >= kSlots || last.tag == operation.tag;
  return last.local == operation.local && same_slot &&
         last.local_offset_bytes + last.size_bytes == operation.local_offset_bytes &&
         last.remote_offset_bytes + last.size_bytes == operation.remote_offset_bytes &&
         last.size_bytes + operation.size_bytes <= kOperationBytesMax;
}

Status PlacingSender::post_pages() {
  if (pages_.empty()) return {};
  for (const TransferOp& page : pages_) {
    if (page.tag < kSlots) ++in_flight_of_slot_[page.tag];
  }
  RETURN_IF_ERROR(lane_.post(pages_, pages_memory_));
  pages_.clear();
  return {};
}

Status PlacingSender::clear(uint32_t block, uint64_t offset_bytes, uint64_t size_bytes) {
  const PageRun run{offset_bytes / kBasePageBytes, size_bytes / kBasePageBytes};
  unsettled_[block].set_run(run);
  for (uint64_t page = run.first_page; page < run.first_page + run.page_count; ++page)
    RETURN_IF_ERROR(clear_page(block, page));
  return {};
}

Status PlacingSender::clear_page(uint32_t block, uint64_t page) {
  if (zeroes_.add(block, page, parts_.placed)) return {};
  RETURN_IF_ERROR(send_zeroes());
  CHECK(zeroes_.add(block, page, parts_.placed));
  return {};
}

Status PlacingSender::send_zeroes() {
  if (zeroes_.empty()) return {};
  // They may have been written before.
  RETURN_IF_ERROR(post_pages());
  RETURN_IF_ERROR(lane_.send(zeroes_.message()));
  zeroes_.clear();
  return {};
}

Status PlacingSender::settle() {
  RETURN_IF_ERROR(post_pages());
  RETURN_IF_ERROR(send_zeroes());
  RETURN_IF_ERROR(lane_.wait_for_receiver());
  for (PageBitmap& pages : unsettled_) pages.clear_all();
  return {};
}

Status PlacingSender::complete() {
  for (int attempts = 1;; ++attempts) {
    RETURN_IF_ERROR(settle());
    const std::set<TornPages::Page> torn = parts_.torn.take();
    if (torn.empty()) return {};
    if (attempts == kAttemptsMax)
      return fail(Errc::kCorrupt, "{} pages do not arrive as they were sent", torn.size());
    for (const auto& [block, page] : torn)
      RETURN_IF_ERROR(append(write_of_page(block, page), block));
  }
}

Status PlacingSender::pass_on(std::span<const std::byte> bytes) {
  while (!bytes.empty() && !lane_.ended_there()) {
    const uint64_t room = lane_.room_bytes() - passed_bytes_;
    if (room == 0 || passed_bytes_ >= kOperationBytesMax) {
      RETURN_IF_ERROR(push_passed());
      if (room == 0) RETURN_IF_ERROR(lane_.wait_for_word());
      continue;
    }
    const RingPiece piece =
        piece_at(lane_.position().filled + passed_bytes_, parts_.ring.size(),
                 std::min({room, bytes.size(), kOperationBytesMax - passed_bytes_}));
    std::memcpy(parts_.ring.data() + piece.offset_bytes, bytes.data(), piece.size_bytes);
    bytes = bytes.subspan(piece.size_bytes);
    passed_bytes_ += piece.size_bytes;
  }
  return {};
}

// With everything that has to be in place before it.
Status PlacingSender::push_passed() {
  if (passed_bytes_ == 0) return {};
  RETURN_IF_ERROR(post_pages());
  RETURN_IF_ERROR(send_zeroes());
  std::array<TransferOp, 2> operations;  // two where the ring ends
  size_t count = 0;
  for (uint64_t done = 0; done < passed_bytes_;) {
    const RingPiece piece =
        piece_at(lane_.position().filled + done, parts_.ring.size(), passed_bytes_ - done);
    operations[count++] = write_of(piece, parts_.local, parts_.remote, kNoSlot);
    done += piece.size_bytes;
  }
  RETURN_IF_ERROR(lane_.post(std::span(operations).first(count), SourceMemory::kFrozen));
  return lane_.announce(std::exchange(passed_bytes_, 0), StreamEnd::kOpen);
}

}  // namespace godwit::relay
