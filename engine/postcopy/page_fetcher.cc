// SPDX-License-Identifier: Apache-2.0
//
// The life of a fetcher, and what its kinds of lane share. Faults are served in fault_service.cc.
#include "engine/postcopy/page_fetcher.h"

#include <algorithm>
#include <cstring>

#include "engine/base/thread_priority.h"
#include "engine/memory/zero_scan.h"
#include "engine/postcopy/fetch_window.h"

namespace godwit::postcopy {
namespace {

std::vector<std::vector<std::atomic<uint64_t>>> make_words(const GuestMemory& memory) {
  std::vector<std::vector<std::atomic<uint64_t>>> words;
  for (const GuestBlock& block : memory) words.emplace_back(received_words(block.page_count()));
  return words;
}

}  // namespace

Result<std::unique_ptr<PageFetcher>> PageFetcher::make(Parts parts) {
  ASSIGN_OR_RETURN(WakeEvent ended, WakeEvent::make());
  return std::unique_ptr<PageFetcher>(new PageFetcher(std::move(parts), std::move(ended)));
}

PageFetcher::PageFetcher(Parts parts, WakeEvent ended)
    : memory_(parts.memory),
      faults_(parts.faults),
      ledger_(parts.memory, std::move(parts.received)),
      order_(parts.memory),
      limiter_(parts.bandwidth_limit_bytes_per_s),
      installed_(make_words(parts.memory)),
      ended_(std::move(ended)) {}

PageFetcher::~PageFetcher() {
  end();
}

void PageFetcher::begin(const GuestPageSet& missing) {
  ledger_.begin(missing);
  note_if_complete();
  open_doors();
}

Status PageFetcher::resume() {
  note_if_complete();
  RETURN_IF_ERROR(wake_all());
  open_doors();
  start_background();
  return {};
}

void PageFetcher::open_doors() {
  watchman_ = std::jthread([this](const std::stop_token& stop) { watch_without_lane(stop); });
  std::lock_guard lock(mutex_);
  begun_ = true;
  changed_.notify_all();
}

Status PageFetcher::await_begin(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  if (changed_.wait(lock, stop, [this] { return begun_ || ending_; })) return {};
  return fail(Errc::kCancelled, "post-copy did not begin");
}

void PageFetcher::start_background() {
  std::lock_guard lock(mutex_);
  background_ = true;
  changed_.notify_all();
}

Status PageFetcher::run_lane(FetchKind kind, Endpoint& endpoint, const FetchRegions& regions,
                             const std::stop_token& stop) {
  {
    std::lock_guard lock(mutex_);
    if (ending_) return {};
    ++lanes_running_;
  }
  const Status status = run(kind, endpoint, regions, stop);
  std::lock_guard lock(mutex_);
  --lanes_running_;
  changed_.notify_all();
  return status;
}

Status PageFetcher::run(FetchKind kind, Endpoint& endpoint, const FetchRegions& regions,
                        const std::stop_token& stop) {
  if (kind == FetchKind::kBackground) (void)make_this_thread_give_way();
  FetchLane lane({memory_, ledger_, faults_}, endpoint, regions);
  const Status status = kind == FetchKind::kFaults ? serve_faults(lane, endpoint, stop)
                                                   : fetch_rest(lane, endpoint, stop);
  const Status abandoned = lane.abandon();
  if (!abandoned) fail_with(abandoned.error());
  // Faults that were read and not served yet are to be read by another.
  if (kind == FetchKind::kFaults) (void)wake_all();
  if (status) return {};
  // What only concerns the lane does not concern the guest.
  if (status.error().code == Errc::kGuest || status.error().code == Errc::kCorrupt)
    fail_with(status.error());
  return status;
}

Status PageFetcher::fetch_rest(FetchLane& lane, Endpoint& endpoint, const std::stop_token& stop) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, stop, [this] { return background_ || complete_ || ending_; });
  }
  FetchWindow window(Clock::now());
  const auto arrived = [&](const Claim& claim) {
    const Clock::time_point now = Clock::now();
    window.note_arrival(claim.pages.page_count * memory_[claim.block].page_size_bytes,
                        now - claim.asked, now);
    note_arrival(claim);
  };
  std::array<std::byte, kLaneMessageBytesMax> message;
  while (!stop.stop_requested() && !ending_) {
    RETURN_IF_ERROR(fill(lane, window.bytes()));
    if (lane.idle()) {
      // The last pages are with other lanes, which may be lost and give them back.
      if (ledger_.outstanding_pages() == 0) return {};
      const Result<size_t> talk = endpoint.receive(message, deadline_in(milliseconds(2)));
      if (!talk && talk.error().code != Errc::kTimeout) return tl::unexpected<Error>(talk.error());
      continue;
    }
    RETURN_IF_ERROR(lane.take(deadline_in(milliseconds(20)), arrived));
  }
  return {};
}

// Asks for as much as the window has room for.
Status PageFetcher::fill(FetchLane& lane, uint64_t window_bytes) {
  while (lane.has_room() && (lane.in_flight_bytes() < window_bytes || lane.idle())) {
    if (!limiter_.unlimited()) {
      // Before anything is claimed: a fault on pages that wait here for their turn would wait too.
      const Clock::time_point start = limiter_.reserve(0, Clock::now());
      std::unique_lock lock(mutex_);
      changed_.wait_until(lock, start, [this] { return ending_.load(); });
    }
    const auto next = order_.next(ledger_);
    if (!next) return {};
    const uint64_t size = next->pages.page_count * memory_[next->block].page_size_bytes;
    const Clock::time_point now = Clock::now();
    (void)limiter_.reserve(size, now);
    RETURN_IF_ERROR(lane.fetch({next->block, next->pages, std::nullopt, now}));
  }
  return {};
}

void PageFetcher::note_served(const Wait& wait) {
  const Clock::duration time = Clock::now() - wait.since;
  fault_latency_.record(time);
  stall_times_.add(wait.vcpu, time);
}

void PageFetcher::note_arrival(const Claim& claim) {
  auto& words = installed_[claim.block];
  // A claim lies within one word.
  const uint64_t first = claim.pages.first_page % kPagesPerWord;
  const uint64_t bits = claim.pages.page_count == kPagesPerWord
                            ? ~uint64_t{0}
                            : ((uint64_t{1} << claim.pages.page_count) - 1) << first;
  words[claim.pages.first_page / kPagesPerWord].fetch_or(bits, std::memory_order_relaxed);
  const uint64_t bytes = claim.pages.page_count * memory_[claim.block].page_size_bytes;
  (claim.wait ? fault_bytes_ : background_bytes_).fetch_add(bytes, std::memory_order_relaxed);
  if (claim.wait) note_served(*claim.wait);
  waiters_.arrived({claim.block, claim.pages}, [this](const Wait& wait) { note_served(wait); });
  if (ledger_.outstanding_pages() == 0) note_if_complete();
}

Status PageFetcher::take_zeroes(uint32_t block, std::span<const PageRun> runs) {
  if (block >= memory_.size()) return fail(Errc::kCorrupt, "zero pages of a block {}", block);
  if (!present_) {
    present_ = empty_page_set(memory_);
    for (size_t i = 0; i < memory_.size(); ++i)
      RETURN_IF_ERROR(find_present_pages(memory_[i], (*present_)[i]));
  }
  const GuestBlock& where = memory_[block];
  for (const PageRun& run : runs) {
    if (run.first_page > where.page_count() ||
        run.page_count > where.page_count() - run.first_page) {
      return fail(Errc::kCorrupt, "zero pages outside of RAM block '{}'", where.name);
    }
    while (const auto claimed = ledger_.claim(block, run)) {
      for (uint64_t page = claimed->first_page; page < claimed->first_page + claimed->page_count;
           ++page) {
        // A hole is zero, and to look at it would make it a page.
        if (!(*present_)[block].test(page)) continue;
        const auto bytes =
            where.memory.subspan(page * where.page_size_bytes, where.page_size_bytes);
        if (!is_zero(bytes)) std::memset(bytes.data(), 0, bytes.size());
      }
      ledger_.mark_received(block, *claimed);
      zero_pages_.fetch_add(claimed->page_count, std::memory_order_relaxed);
      // Who has begun to wait meanwhile touches it again, and is served what is here.
      RETURN_IF_ERROR(faults_.wake(block, *claimed));
    }
  }
  note_if_complete();
  return {};
}

void PageFetcher::note_if_complete() {
  if (ledger_.outstanding_pages() != 0) return;
  std::lock_guard lock(mutex_);
  complete_ = true;
  changed_.notify_all();
}

Result<bool> PageFetcher::await_complete(Deadline deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [this] { return complete_ || error_; });
  if (error_) return tl::unexpected<Error>(*error_);
  return complete_;
}

void PageFetcher::fail_with(const Error& error) {
  std::lock_guard lock(mutex_);
  if (!error_) error_ = error;
  changed_.notify_all();
}

void PageFetcher::end() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  ended_.raise();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return lanes_running_ == 0; });
  lock.unlock();
  watchman_ = {};
}

FetchCounters PageFetcher::counters() const {
  return {.faults = fault_count_.load(std::memory_order_relaxed),
          .faults_fetched = faults_fetched_.load(std::memory_order_relaxed),
          .fault_bytes = fault_bytes_.load(std::memory_order_relaxed),
          .background_bytes = background_bytes_.load(std::memory_order_relaxed),
          .zero_pages = zero_pages_.load(std::memory_order_relaxed)};
}

}  // namespace godwit::postcopy
