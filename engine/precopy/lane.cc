// SPDX-License-Identifier: Apache-2.0
#include "engine/precopy/lane.h"

#include <algorithm>
#include <bit>
#include <thread>

#include "engine/base/check.h"
#include "engine/memory/zero_scan.h"

namespace godwit::precopy {

namespace {

// One doorbell: enough for the transport to merge into large frames, little enough that the zero
// scan of the next batch overlaps the sending of this one.
constexpr size_t kBatchOps = 64;
constexpr uint64_t kBatchBytes = 2 * kMiB;
constexpr size_t kTornReserved = 1 << 14;

// The first line of a page mostly decides, and the next page's is a cache miss that no hardware
// sees coming: ask for it this far ahead.
constexpr uint64_t kPrefetchBytes = 8 * kBasePageBytes;

// An operation's tag says what it carried, so that a torn page is found without a table.
constexpr uint64_t kTagPageBits = 40;  // base pages: 4 PiB per block
constexpr uint64_t kTagSizeBits = 8;   // base pages of the operation
static_assert(kOperationPagesMax < (1U << kTagSizeBits));

struct Tag {
  uint32_t block;
  uint64_t base_page;
  uint64_t base_pages;
};

uint64_t encode_tag(const Tag& tag) {
  return (static_cast<uint64_t>(tag.block) << kTagSizeBits | tag.base_pages) << kTagPageBits |
         tag.base_page;
}

Tag decode_tag(uint64_t tag) {
  return {.block = static_cast<uint32_t>(tag >> (kTagPageBits + kTagSizeBits)),
          .base_page = tag & ((uint64_t{1} << kTagPageBits) - 1),
          .base_pages = tag >> kTagPageBits & ((uint64_t{1} << kTagSizeBits) - 1)};
}

}  // namespace

Lane::Lane(const LaneContext& context, size_t rail, std::unique_ptr<Endpoint> endpoint)
    : context_(context),
      rail_(context.rails[rail]),
      endpoint_(std::move(endpoint)),
      pace_(rail_.in_flight_bytes_max) {
  CHECK(context.memory.size() < (1U << (64 - kTagPageBits - kTagSizeBits)));
  batch_.reserve(kBatchOps);
  zeroes_.runs.reserve(kZeroRunsMax);
  message_.reserve(kLaneMessageBytesMax);
  torn_.reserve(kTornReserved);
}

Status Lane::send_chunk(const Chunk& chunk, Turn turn, const PageTransfer& transfer) {
  RETURN_IF_ERROR(context_.interruption.check());
  history_ =
      transfer.round == 1 && turn == Turn::kFirst ? PageHistory::kUntouched : PageHistory::kSent;
  const uint64_t end = chunk.pages.first_page + chunk.pages.page_count;
  if (transfer.zeroes != nullptr) {
    const PageBitmap& zeroes = (*transfer.zeroes)[chunk.block];
    const uint64_t base_pages = context_.memory[chunk.block].page_size_bytes / kBasePageBytes;
    for (auto run = zeroes.next_run(chunk.pages.first_page, end); run;
         run = zeroes.next_run(run->first_page + run->page_count, end)) {
      RETURN_IF_ERROR(
          add_zeroes(chunk.block, run->first_page * base_pages, run->page_count * base_pages));
    }
  }
  const PageBitmap& pages = (*transfer.pages)[chunk.block];
  for (auto run = pages.next_run(chunk.pages.first_page, end); run;
       run = pages.next_run(run->first_page + run->page_count, end)) {
    RETURN_IF_ERROR(add_run(chunk, *run, transfer));
  }
  return {};
}

// Cuts a run of pages into stretches of zero and of other base pages.
Status Lane::add_run(const Chunk& chunk, PageRun run, const PageTransfer& transfer) {
  const GuestBlock& block = context_.memory[chunk.block];
  const uint64_t begin = run.first_page * block.page_size_bytes;
  const uint64_t end = begin + run.page_count * block.page_size_bytes;
  uint64_t stretch = begin;
  bool stretch_is_zero = false;
  for (uint64_t at = begin; at < end; at += kBasePageBytes) {
    __builtin_prefetch(block.memory.data() + std::min(at + kPrefetchBytes, end - 1));
    const bool zero = is_zero(block.memory.subspan(at, kBasePageBytes));
    if (zero == stretch_is_zero) continue;
    if (at > stretch) {
      RETURN_IF_ERROR(
          stretch_is_zero
              ? add_zeroes(chunk.block, stretch / kBasePageBytes, (at - stretch) / kBasePageBytes)
              : add_data(chunk.block, stretch, at - stretch, transfer.memory));
    }
    stretch = at;
    stretch_is_zero = zero;
  }
  if (stretch_is_zero) {
    return add_zeroes(chunk.block, stretch / kBasePageBytes, (end - stretch) / kBasePageBytes);
  }
  return add_data(chunk.block, stretch, end - stretch, transfer.memory);
}

Status Lane::add_data(uint32_t block, uint64_t offset_bytes, uint64_t size_bytes,
                      SourceMemory memory) {
  while (size_bytes > 0) {
    const uint64_t piece = std::min(size_bytes, kOperationBytesMax);
    batch_.push_back(
        {.local = rail_.local[block],
         .local_offset_bytes = offset_bytes,
         .remote = rail_.remote[block],
         .remote_offset_bytes = offset_bytes,
         .size_bytes = static_cast<uint32_t>(piece),
         .tag = encode_tag({block, offset_bytes / kBasePageBytes, piece / kBasePageBytes})});
    batch_bytes_ += piece;
    offset_bytes += piece;
    size_bytes -= piece;
    if (batch_.size() == kBatchOps || batch_bytes_ >= batch_bytes_max()) {
      RETURN_IF_ERROR(post_batch(memory));
    }
  }
  return {};
}

Status Lane::add_zeroes(uint32_t block, uint64_t first_base_page, uint64_t base_page_count) {
  counters_.zero_pages += base_page_count;
  if ((zeroes_.block != block || zeroes_.history != history_) && !zeroes_.runs.empty())
    RETURN_IF_ERROR(send_zeroes());
  zeroes_.block = block;
  zeroes_.history = history_;
  if (!zeroes_.runs.empty()) {
    PageRun& last = zeroes_.runs.back();
    if (last.first_page + last.page_count == first_base_page) {
      last.page_count += base_page_count;
      return {};
    }
  }
  zeroes_.runs.push_back({first_base_page, base_page_count});
  if (zeroes_.runs.size() == kZeroRunsMax) return send_zeroes();
  return {};
}

// A part of what may be on its way, so that there is always some there.
uint64_t Lane::batch_bytes_max() const {
  return std::clamp(pace_.in_flight_bytes() / 4, kOperationBytesMax, kBatchBytes);
}

Status Lane::wait_for_room() {
  pace_.wait(Clock::now());
  return take_completions(deadline_in(context_.stall_max));
}

Status Lane::post_batch(SourceMemory memory) {
  if (batch_.empty()) return {};
  if (!context_.limiter.unlimited()) {
    RETURN_IF_ERROR(wait_until(context_.limiter.reserve(batch_bytes_, Clock::now())));
  }
  const Deadline deadline = deadline_in(context_.stall_max);
  bool had_room = true;
  while (in_flight_bytes_ > 0 && in_flight_bytes_ + batch_bytes_ > pace_.in_flight_bytes()) {
    had_room = false;
    RETURN_IF_ERROR(wait_for_room());
  }
  std::span<const TransferOp> left = batch_;
  while (true) {
    ASSIGN_OR_RETURN(const size_t accepted, endpoint_->post_writes(left, memory));
    in_flight_ += accepted;
    for (const TransferOp& op : left.first(accepted)) in_flight_bytes_ += op.size_bytes;
    left = left.subspan(accepted);
    if (left.empty()) break;
    if (in_flight_ > 0) {
      had_room = false;
      RETURN_IF_ERROR(wait_for_room());
      continue;
    }
    // Nothing of ours is in the queue, so there is no completion to wait for: ask again.
    RETURN_IF_ERROR(context_.interruption.check());
    if (Clock::now() >= deadline) {
      return fail(Errc::kPeerLost, "a lane took no page for {:.0f} s",
                  to_seconds(context_.stall_max));
    }
  }
  if (had_room) pace_.flow();
  counters_.bytes_sent += batch_bytes_;
  counters_.pages_sent += batch_bytes_ / kBasePageBytes;
  batch_.clear();
  batch_bytes_ = 0;
  // Whatever has completed meanwhile, without waiting.
  if (in_flight_ > 0) RETURN_IF_ERROR(take_completions(Deadline{}));
  return {};
}

Status Lane::send_zeroes() {
  if (zeroes_.runs.empty()) return {};
  encode_lane_message(zeroes_, message_);
  zeroes_.runs.clear();
  sent_zeroes_ = true;
  return endpoint_->send(message_, deadline_in(context_.stall_max));
}

Status Lane::finish_round(const PageTransfer& transfer) {
  RETURN_IF_ERROR(post_batch(transfer.memory));
  RETURN_IF_ERROR(endpoint_->flush(deadline_in(context_.stall_max)));
  while (in_flight_ > 0) RETURN_IF_ERROR(take_completions(deadline_in(context_.stall_max)));

  RETURN_IF_ERROR(send_zeroes());
  // The far end clears zero pages with its CPU; wait until it has.
  if (!sent_zeroes_) return {};
  sent_zeroes_ = false;
  encode_lane_message(RoundEnd{transfer.round}, message_);
  RETURN_IF_ERROR(endpoint_->send(message_, deadline_in(context_.stall_max)));
  message_.resize(kLaneMessageBytesMax);
  ASSIGN_OR_RETURN(const size_t received,
                   endpoint_->receive(message_, deadline_in(context_.stall_max)));
  ASSIGN_OR_RETURN(LaneMessage answer, decode_lane_message(std::span(message_).first(received)));
  const auto* done = std::get_if<RoundDone>(&answer);
  if (done == nullptr || done->round != transfer.round) {
    return fail(Errc::kCorrupt, "the destination answered the end of round {} with something else",
                transfer.round);
  }
  return {};
}

// Waits for the bandwidth limiter without letting the connection rest.
Status Lane::wait_until(Clock::time_point moment) {
  while (Clock::now() < moment) {
    RETURN_IF_ERROR(context_.interruption.check());
    const Deadline until = std::min(moment, deadline_in(milliseconds(50)));
    if (in_flight_ > 0) {
      ASSIGN_OR_RETURN(const size_t count, endpoint_->poll(completions_, until));
      RETURN_IF_ERROR(account_for(count));
    } else {
      std::this_thread::sleep_until(until);
    }
  }
  return {};
}

Status Lane::take_completions(Deadline deadline) {
  ASSIGN_OR_RETURN(const size_t count, endpoint_->poll(completions_, deadline));
  if (count == 0 && deadline != Deadline{}) {
    return fail(Errc::kPeerLost, "the destination acknowledged nothing for {:.0f} s",
                to_seconds(context_.stall_max));
  }
  return account_for(count);
}

// Of a lane that has flushed operations: its endpoint says why when none is left.
Status Lane::why_it_ended() {
  while (true) {
    ASSIGN_OR_RETURN(const size_t count, endpoint_->poll(completions_, Deadline{}));
    if (count == 0) return fail(Errc::kPeerLost, "a lane ended with pages on their way");
  }
}

// Notes what became of the first `count` operations in completions_.
Status Lane::account_for(size_t count) {
  CHECK(count <= in_flight_);
  in_flight_ -= count;
  const uint64_t in_flight_bytes_before = in_flight_bytes_;
  for (const Completion& completion : std::span(completions_).first(count)) {
    const Tag tag = decode_tag(completion.tag);
    in_flight_bytes_ -= tag.base_pages * kBasePageBytes;
    if (completion.status == OpStatus::kFlushed) {
      return why_it_ended();
    }
    if (completion.status != OpStatus::kTorn) continue;
    const uint64_t base_pages = context_.memory[tag.block].page_size_bytes / kBasePageBytes;
    counters_.torn_pages += static_cast<uint64_t>(std::popcount(completion.torn_pages));
    for (uint64_t bits = completion.torn_pages; bits != 0; bits &= bits - 1) {
      torn_.push_back({tag.block, (tag.base_page + static_cast<uint64_t>(std::countr_zero(bits))) /
                                      base_pages});
    }
  }
  if (pace_.is_measuring()) pace_.complete(in_flight_bytes_before - in_flight_bytes_, Clock::now());
  return {};
}

LaneCounters Lane::take_counters() {
  counters_.slowdowns = pace_.take_slowdowns();
  return std::exchange(counters_, LaneCounters{});
}

}  // namespace godwit::precopy
