// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/transfers.h"

#include <algorithm>

#include "engine/base/check.h"

namespace godwit::qualify {
namespace {

// So that an end or an interruption is seen.
constexpr Clock::duration kLookUp = milliseconds(20);
// A transfer that takes longer than this does not come any more.
constexpr Clock::duration kFinishMax = seconds(10);

}  // namespace

Transfers::Transfers(BenchLane& lane, Verb verb, uint32_t size_bytes)
    : lane_(lane),
      verb_(verb),
      size_bytes_(size_bytes),
      transfers_in_memory_(lane.size_bytes / size_bytes),
      next_(transfers_in_memory_) {
  CHECK((verb == Verb::kWrite || verb == Verb::kRead) && transfers_in_memory_ > 0);
}

Status Transfers::begin(uint32_t transfers) {
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(posted_));
  posted_ = 0;
  for (uint32_t i = 0; i < transfers; ++i) {
    if (next_ == 0) next_ = transfers_in_memory_;
    const uint64_t start = lane_.offset_bytes + --next_ * size_bytes_;
    for (uint64_t at = 0; at < size_bytes_; at += kOperationBytesMax) {
      const auto size = static_cast<uint32_t>(std::min(size_bytes_ - at, kOperationBytesMax));
      waiting_.push_back({.local = lane_.local,
                          .local_offset_bytes = start + at,
                          .remote = lane_.remote,
                          .remote_offset_bytes = start + at,
                          .size_bytes = size,
                          .tag = size});
    }
  }
  bytes_under_way_ += transfers * size_bytes_;
  return post();
}

Status Transfers::post() {
  const auto ops = std::span(waiting_).subspan(posted_);
  if (ops.empty()) return {};
  // Nobody else writes this memory.
  ASSIGN_OR_RETURN(const size_t accepted,
                   verb_ == Verb::kRead ? lane_.endpoint().post_reads(ops)
                                        : lane_.endpoint().post_writes(ops, SourceMemory::kFrozen));
  posted_ += accepted;
  return {};
}

Result<uint64_t> Transfers::advance() {
  RETURN_IF_ERROR(post());
  ASSIGN_OR_RETURN(const size_t count, lane_.endpoint().poll(completions_, deadline_in(kLookUp)));
  uint64_t bytes = 0;
  for (const Completion& completion : std::span(completions_).first(count)) {
    if (completion.status != OpStatus::kOk)
      return fail(Errc::kPeerLost, "a {} of {} bytes failed", to_string(verb_), completion.tag);
    bytes += completion.tag;
  }
  bytes_under_way_ -= bytes;
  return bytes;
}

Result<uint64_t> Transfers::finish_all() {
  Deadline deadline = deadline_in(kFinishMax);
  uint64_t total = 0;
  while (bytes_under_way_ > 0) {
    if (Clock::now() >= deadline) return fail(Errc::kTimeout, "{}s do not end", to_string(verb_));
    ASSIGN_OR_RETURN(const uint64_t bytes, advance());
    total += bytes;
    if (bytes > 0) deadline = deadline_in(kFinishMax);  // a slow link takes its time
  }
  return total;
}

}  // namespace godwit::qualify
