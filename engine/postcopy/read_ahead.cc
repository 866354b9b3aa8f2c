// SPDX-License-Identifier: Apache-2.0
#include "engine/postcopy/read_ahead.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "engine/base/check.h"
#include "engine/base/units.h"

namespace godwit::postcopy {
namespace {

constexpr uint64_t kReadAheadBytesMin = 32 * kKiB;
constexpr uint64_t kReadAheadBytesMax = 2 * kMiB;
constexpr uint64_t kHugeReadAheadBytesMax = 16 * kMiB;  // of pages that are 2 MiB or more each
constexpr auto kWordPages = static_cast<int64_t>(kPagesPerWord);

int64_t pages_in(uint64_t bytes, uint64_t page_size_bytes) {
  return static_cast<int64_t>(std::max<uint64_t>(bytes / page_size_bytes, 1));
}

PageRun run(int64_t first, int64_t count) {
  return {static_cast<uint64_t>(first), static_cast<uint64_t>(count)};
}

}  // namespace

ReadAhead::ReadAhead(const GuestMemory& memory) {
  for (const GuestBlock& block : memory) {
    const uint64_t size = block.page_size_bytes;
    const uint64_t bytes_max =
        size < kReadAheadBytesMax ? kReadAheadBytesMax : kHugeReadAheadBytesMax;
    blocks_.push_back({static_cast<int64_t>(block.page_count()), pages_in(kReadAheadBytesMin, size),
                       pages_in(bytes_max, size)});
  }
}

void ReadAhead::note_fault(uint32_t block, uint64_t page_number) {
  const auto page = static_cast<int64_t>(page_number);
  DCHECK(page < blocks_[block].page_count);
  ++faults_;
  if (continues_a_stream(block, page)) return;
  collapse_around(block, page);
  const std::optional<int64_t> stride = stride_to(block, page);
  begin({.block = block,
         .stride = stride.value_or(1),
         .last = page,
         .next = page + stride.value_or(1),
         .window = blocks_[block].window_min,
         .noted_at = faults_,
         .confirmed = stride.has_value()});
  misses_[next_miss_] = {block, page};
  next_miss_ = (next_miss_ + 1) % kMisses;
}

bool ReadAhead::continues_a_stream(uint32_t block, int64_t page) {
  for (Stream& stream : streams_) {
    if (stream.stride == 0 || stream.block != block) continue;
    const int64_t distance = page - stream.last;
    // Others who touch the same page tell nothing new.
    if (distance == 0) return true;
    const int64_t strides = distance / stream.stride;
    // Behind the window as well: pages that were there already are not faulted on.
    const bool led_here =
        distance % stream.stride == 0 && strides >= 1 && strides <= 2 * stream.window;
    if (!led_here) continue;
    stream.window = std::min(2 * stream.window, blocks_[block].window_max);
    stream.last = page;
    stream.noted_at = faults_;
    stream.confirmed = true;
    const int64_t after = page + stream.stride;
    stream.next = stream.stride > 0 ? std::max(stream.next, after) : std::min(stream.next, after);
    aim(stream);
    return true;
  }
  return false;
}

// Where a stream had the guest nearby, and it was elsewhere.
void ReadAhead::collapse_around(uint32_t block, int64_t page) {
  for (Stream& stream : streams_) {
    if (stream.stride == 0 || stream.block != block) continue;
    if (std::abs(page - stream.last) > stream.window * std::abs(stream.stride)) continue;
    stream.window = blocks_[block].window_min;
    aim(stream);
  }
}

// The distance that led to this page twice in a row.
std::optional<int64_t> ReadAhead::stride_to(uint32_t block, int64_t page) const {
  auto missed = [&](int64_t other) {
    return std::any_of(misses_.begin(), misses_.end(),
                       [&](const Miss& miss) { return miss.block == block && miss.page == other; });
  };
  // The latest first.
  for (size_t back = 1; back <= kMisses; ++back) {
    const Miss& miss = misses_[(next_miss_ + kMisses - back) % kMisses];
    if (miss.block != block || miss.page < 0 || miss.page == page) continue;
    const int64_t distance = page - miss.page;
    if (miss.page >= distance && missed(miss.page - distance)) return distance;
  }
  return std::nullopt;
}

void ReadAhead::begin(Stream stream) {
  aim(stream);
  auto worth = [](const Stream& other) {
    return std::pair(other.stride != 0 && other.confirmed, other.noted_at);
  };
  *std::min_element(streams_.begin(), streams_.end(),
                    [&](const Stream& a, const Stream& b) { return worth(a) < worth(b); }) = stream;
}

// Sets how much is left to read ahead: up to a window behind the latest fault, inside the block.
void ReadAhead::aim(Stream& stream) const {
  const int64_t last_page = blocks_[stream.block].page_count - 1;
  if (!stream.confirmed || stream.next < 0 || stream.next > last_page) {
    stream.left = 0;
    return;
  }
  const int64_t in_window = stream.window - (stream.next - stream.last) / stream.stride + 1;
  const int64_t in_block = stream.stride > 0 ? (last_page - stream.next) / stream.stride + 1
                                             : stream.next / -stream.stride + 1;
  stream.left = std::clamp<int64_t>(in_window, 0, in_block);
}

std::optional<PageClaim> ReadAhead::next(PageLedger& ledger) {
  for (uint64_t before = std::numeric_limits<uint64_t>::max();;) {
    Stream* latest = nullptr;
    for (Stream& stream : streams_) {
      if (stream.left == 0 || stream.noted_at >= before) continue;
      if (latest == nullptr || stream.noted_at > latest->noted_at) latest = &stream;
    }
    if (latest == nullptr) return std::nullopt;
    if (const auto pages = take(*latest, ledger)) return PageClaim{latest->block, *pages};
    before = latest->noted_at;
  }
}

// The stream's next run that is missing; what it passes over is behind it for good.
std::optional<PageRun> ReadAhead::take(Stream& stream, PageLedger& ledger) const {
  while (stream.left > 0) {
    const int64_t next = stream.next;
    // Neighbours travel together, and backward as well, a word at a time.
    int64_t count = 1;
    if (stream.stride == 1) count = stream.left;
    if (stream.stride == -1) count = std::min(stream.left, next % kWordPages + 1);
    const int64_t first = stream.stride == -1 ? next - count + 1 : next;
    const std::optional<PageRun> claimed = ledger.claim(stream.block, run(first, count));
    // Backward, a word may hold several runs: it is asked again.
    if (claimed && stream.stride == -1) return claimed;
    const int64_t passed =
        claimed ? static_cast<int64_t>(claimed->first_page + claimed->page_count) - next : count;
    const int64_t strides = stream.stride == 1 || stream.stride == -1 ? passed : 1;
    stream.next += strides * stream.stride;
    stream.left -= strides;
    if (claimed) return claimed;
  }
  return std::nullopt;
}

}  // namespace godwit::postcopy
