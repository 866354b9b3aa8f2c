// SPDX-License-Identifier: Apache-2.0
#include "engine/precopy/lane_group.h"

#include <algorithm>

#include "engine/base/check.h"

namespace godwit::precopy {

namespace {

// Small enough to spread a guest over the lanes, large enough for whole frames.
constexpr uint64_t kChunkBytes = 4 * kMiB;

std::vector<Chunk> cut_into_chunks(const GuestMemory& memory) {
  std::vector<Chunk> chunks;
  for (uint32_t block = 0; block < memory.size(); ++block) {
    const uint64_t pages = memory[block].page_count();
    const uint64_t step = std::max<uint64_t>(1, kChunkBytes / memory[block].page_size_bytes);
    for (uint64_t page = 0; page < pages; page += step) {
      chunks.push_back({block, {page, std::min(step, pages - page)}});
    }
  }
  return chunks;
}

bool has_pages(const GuestPageSet* pages, const Chunk& chunk) {
  if (pages == nullptr) return false;
  const uint64_t first = chunk.pages.first_page;
  return (*pages)[chunk.block].next_run(first, first + chunk.pages.page_count).has_value();
}

}  // namespace

LaneGroup::LaneGroup(const LaneContext& context, std::vector<std::unique_ptr<Endpoint>> endpoints)
    : context_(context), chunks_(cut_into_chunks(context.memory)) {
  for (auto& endpoint : endpoints) {
    lanes_.push_back(std::make_unique<Lane>(context, std::move(endpoint)));
  }
  wake_ = context_.interruption.on_raise([this] {
    for (const auto& lane : lanes_) lane->shut_down();
  });
  for (const auto& lane : lanes_) {
    threads_.emplace_back(
        [this, &lane = *lane](const std::stop_token& stop) { run_lane(lane, stop); });
  }
}

LaneGroup::~LaneGroup() {
  for (std::jthread& thread : threads_) thread.request_stop();
  for (const auto& lane : lanes_) lane->shut_down();
}

Status LaneGroup::begin(const PageTransfer& transfer, GuestPageSet& torn) {
  RETURN_IF_ERROR(context_.interruption.check());
  std::lock_guard lock(mutex_);
  CHECK(lanes_working_ == 0);
  started_ = Clock::now();
  transfer_ = transfer;
  torn_ = &torn;
  counters_ = {};
  next_chunk_.store(0, std::memory_order_relaxed);
  lanes_working_ = lanes_.size();
  ++generation_;
  changed_.notify_all();
  return {};
}

bool LaneGroup::done_by(Deadline deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [this] { return lanes_working_ == 0; });
}

Result<TransferResult> LaneGroup::finish(const std::function<void()>& tick) {
  while (!done_by(deadline_in(milliseconds(100)))) tick();
  std::lock_guard lock(mutex_);
  if (error_) return tl::unexpected<Error>(*error_);
  return TransferResult{counters_, finished_ - started_};
}

void LaneGroup::run_lane(Lane& lane, const std::stop_token& stop) {
  uint64_t done = 0;
  while (true) {
    PageTransfer transfer{};
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [&] { return generation_ != done; })) return;
      done = generation_;
      transfer = transfer_;
    }
    const Status status = work_on(lane, transfer);
    // The interruption stops the other lanes at once, and gives everybody the first error.
    if (!status) context_.interruption.raise(status.error());
    collect(lane);
    std::lock_guard lock(mutex_);
    if (!status && !error_) {
      const Status first = context_.interruption.check();
      error_ = first ? status.error() : first.error();
    }
    if (--lanes_working_ > 0) continue;
    finished_ = Clock::now();
    changed_.notify_all();
  }
}

Status LaneGroup::work_on(Lane& lane, const PageTransfer& transfer) {
  bool idle = true;
  while (true) {
    // SAFETY: relaxed is enough; the chunks and the transfer were published by the mutex.
    const size_t index = next_chunk_.fetch_add(1, std::memory_order_relaxed);
    if (index >= chunks_.size()) break;
    const Chunk& chunk = chunks_[index];
    if (!has_pages(transfer.pages, chunk) && !has_pages(transfer.zeroes, chunk)) continue;
    idle = false;
    RETURN_IF_ERROR(lane.send_chunk(chunk, transfer));
    collect(lane);
  }
  // A lane that had nothing to send has nothing to wait for either.
  if (idle && transfer.round > 1) return {};
  return lane.finish_round(transfer);
}

void LaneGroup::collect(Lane& lane) {
  const LaneCounters counted = lane.take_counters();
  bytes_sent_.fetch_add(counted.bytes_sent, std::memory_order_relaxed);
  std::lock_guard lock(mutex_);
  counters_.bytes_sent += counted.bytes_sent;
  counters_.pages_sent += counted.pages_sent;
  counters_.zero_pages += counted.zero_pages;
  counters_.torn_pages += counted.torn_pages;
  for (const TornPage& page : lane.torn()) (*torn_)[page.block].set(page.page);
  lane.clear_torn();
}

}  // namespace godwit::precopy
