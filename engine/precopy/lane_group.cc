// SPDX-License-Identifier: Apache-2.0
#include "engine/precopy/lane_group.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/units.h"
#include "engine/lane_loss.h"
#include "engine/numa/thread_binding.h"

namespace godwit::precopy {

namespace {

// How often a rail that was lost is tried.
constexpr Clock::duration kRetryInterval = milliseconds(250);
// For a thread that has no lane, or one of last resort: how often it looks whether to do something.
constexpr Clock::duration kLookInterval = milliseconds(50);
// A lane makes sure of its chunks when it has sent this many: what a loss costs is bounded by it.
constexpr size_t kUnconfirmedChunksMax = 64;
// And this often in the time in which something has to arrive: a slow lane, too, shows that it is
// a way while others are lost.
constexpr int kConfirmsPerStall = 4;
// What a lane begins of a chunk at a time: less when its rail has become slow, so that more is left
// for others to take over.
constexpr uint64_t kBiteBytes = 512 * kKiB;
constexpr uint64_t kSlowBiteBytes = 128 * kKiB;
// Less than this is not worth another lane's while.
constexpr uint64_t kTakeOverBytesMin = 256 * kKiB;

bool has_pages(const GuestPageSet* pages, const Chunk& chunk) {
  if (pages == nullptr) return false;
  const uint64_t first = chunk.pages.first_page;
  return (*pages)[chunk.block].next_run(first, first + chunk.pages.page_count).has_value();
}

size_t count_always(const std::vector<RailUse>& uses) {
  return static_cast<size_t>(std::ranges::count(uses, RailUse::kAlways));
}

// A lane that was shut down here on the destination's word has no reason of its own.
Error lost_at_both_ends(const Error& here, const std::string& there) {
  if (here.code == Errc::kCancelled)
    return fail(Errc::kPeerLost, "lost at the destination: {}", there).value();
  return fail(Errc::kPeerLost, "{}; at the destination: {}", to_string(here), there).value();
}

}  // namespace

LaneGroup::LaneGroup(const LaneContext& context, LaneOpener& opener, std::vector<RailUse> uses,
                     uint32_t lane_count)
    : context_(context),
      opener_(opener),
      uses_(std::move(uses)),
      queue_(context.memory, uses_.size(), count_always(uses_)),
      rails_(uses_.size()),
      first_tries_(lane_count) {
  CHECK(uses_.size() == context.rails.size() && count_always(uses_) > 0);
  CHECK(std::ranges::is_sorted(uses_));
  for (uint32_t lane = 0; lane < lane_count; ++lane) {
    slots_.push_back(std::make_unique<Slot>());
    slots_.back()->home_rail = lane % count_always(uses_);
    slots_.back()->taken.reserve(kUnconfirmedChunksMax);
  }
  if (lane_count > 1) slots_.back()->is_scout = true;
}

LaneGroup::~LaneGroup() {
  for (std::jthread& thread : threads_) thread.request_stop();
  shut_down_lanes();
  threads_.clear();
}

void LaneGroup::shut_down_lanes() {
  std::lock_guard lock(lanes_mutex_);
  for (const auto& slot : slots_) {
    if (slot->lane) slot->lane->shut_down();
  }
}

void LaneGroup::place(std::span<const uint32_t> homes, std::vector<numa::CpuList> cpus) {
  CHECK(threads_.empty() && cpus.size() == slots_.size());
  queue_.set_homes(homes);
  for (size_t lane = 0; lane < slots_.size(); ++lane) slots_[lane]->cpus = std::move(cpus[lane]);
}

std::vector<size_t> LaneGroup::home_rails() const {
  std::vector<size_t> rails;
  for (const auto& slot : slots_) rails.push_back(slot->home_rail);
  return rails;
}

// Each thread opens its own lane, all at once: that is several round trips with the other side, and
// what a lane allocates lies near its thread.
Status LaneGroup::connect() {
  RETURN_IF_ERROR(context_.interruption.check());
  for (const auto& slot : slots_) {
    threads_.emplace_back([this, &slot = *slot](const std::stop_token& stop) {
      // Where that is not allowed the lane works all the same.
      (void)numa::bind_this_thread(slot.cpus);
      slot.opened = open_lane(slot, slot.home_rail);
      first_tries_.count_down();
      connected_.wait();
      run(slot, stop);
    });
  }
  first_tries_.wait();
  const Status connected = complete_connection();
  if (!connected) {
    for (std::jthread& thread : threads_) thread.request_stop();
  }
  connected_.count_down();
  return connected;
}

Status LaneGroup::complete_connection() {
  RETURN_IF_ERROR(context_.interruption.check());
  std::optional<Error> first_error;
  const auto note = [&](const Status& opened) {
    if (!opened && !first_error) first_error = opened.error();
  };
  for (const auto& slot : slots_) note(slot->opened);
  for (size_t rail = 0; rail < uses_.size() && lanes_alive_ == 0; ++rail) {
    if (!is_last_resort(rail)) continue;
    for (const auto& slot : slots_) note(open_lane(*slot, rail));
  }
  if (lanes_alive_ == 0) return tl::unexpected<Error>(*first_error);
  wake_ = context_.interruption.on_raise([this] {
    shut_down_lanes();
    changed_.notify_all();
  });
  return {};
}

Status LaneGroup::open_lane(Slot& slot, size_t rail) {
  Result<OpenedLane> opened = opener_.open(rail);
  std::lock_guard lock(mutex_);
  if (!opened) {
    ++rails_[rail].losses;
    // Why it was lost says more than that it is not back yet.
    if (!rails_[rail].last_loss) rails_[rail].last_loss = opened.error();
    return tl::unexpected<Error>(opened.error());
  }
  auto lane = std::make_unique<Lane>(context_, rail, std::move(opened->endpoint));
  ++rails_[rail].lanes_opened;
  ++lanes_alive_;
  if (!is_last_resort(rail)) ++lanes_alive_normally_;
  std::lock_guard lanes_lock(lanes_mutex_);
  slot.rail = rail;
  slot.number = opened->number;
  slot.lane = std::move(lane);
  // Raised before the lane was there to be shut down.
  if (context_.interruption.raised()) slot.lane->shut_down();
  return {};
}

void LaneGroup::lose(uint32_t number) {
  std::lock_guard lock(lanes_mutex_);
  for (const auto& slot : slots_) {
    if (slot->lane && slot->number == number) slot->lane->shut_down();
  }
}

Status LaneGroup::begin(const PageTransfer& transfer, GuestPageSet& torn) {
  RETURN_IF_ERROR(context_.interruption.check());
  std::lock_guard lock(mutex_);
  CHECK(slots_working_ == 0);
  if (error_) return tl::unexpected<Error>(*error_);
  started_ = last_confirmed_ = Clock::now();
  transfer_ = transfer;
  torn_ = &torn;
  counters_ = {};
  queue_.refill();
  round_open_ = true;
  changed_.notify_all();
  return {};
}

bool LaneGroup::has_work() const {
  return round_open_ && !error_ && queue_.has_work();
}

bool LaneGroup::round_is_over() const {
  return slots_working_ == 0 && (!round_open_ || error_);
}

bool LaneGroup::done_by(Deadline deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [this] { return round_is_over(); });
}

Result<TransferResult> LaneGroup::finish(const std::function<void()>& tick) {
  while (!done_by(deadline_in(milliseconds(100)))) tick();
  std::lock_guard lock(mutex_);
  if (error_) return tl::unexpected<Error>(*error_);
  return TransferResult{counters_, finished_ - started_};
}

std::vector<RailCounters> LaneGroup::rails() const {
  std::lock_guard lock(mutex_);
  return rails_;
}

void LaneGroup::run(Slot& slot, const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(mutex_);
      const bool settled = slot.lane != nullptr && !is_last_resort(slot.rail);
      const auto ready = [&] { return slot.lane != nullptr && has_work(); };
      if (settled) {
        changed_.wait(lock, stop, ready);
      } else {
        changed_.wait_for(lock, stop, kLookInterval, ready);
      }
    }
    if (stop.stop_requested()) return;
    if (context_.interruption.raised()) {
      give_up(context_.interruption.check().error());
      continue;
    }
    if (slot.lane != nullptr && is_last_resort(slot.rail)) leave_last_resort(slot);
    if (slot.lane == nullptr) try_to_come_back(slot);
    if (slot.lane != nullptr) work(slot);
  }
}

void LaneGroup::try_to_come_back(Slot& slot) {
  bool only_last_resort = false;
  {
    std::lock_guard lock(mutex_);
    only_last_resort = lanes_alive_normally_ == 0;
    if (is_hopeless()) {
      error_ =
          fail(Errc::kPeerLost, "no way to the destination is left: {}", to_string(*last_loss_))
              .value();
      changed_.notify_all();
    }
    if (error_) return;
  }
  if (only_last_resort && !slot.is_scout) {
    for (size_t rail = 0; rail < uses_.size(); ++rail) {
      if (is_last_resort(rail) && open_lane(slot, rail)) return;
    }
  }
  if (Clock::now() < slot.next_try) return;
  (void)open_lane(slot, slot.home_rail);
  slot.next_try = Clock::now() + kRetryInterval;
  // The scout speaks for all rails.
  if (slot.is_scout && slot.lane == nullptr)
    slot.home_rail = (slot.home_rail + 1) % count_always(uses_);
}

// Between two rounds, or two turns at work.
void LaneGroup::leave_last_resort(Slot& slot) {
  bool alone = false;
  {
    std::lock_guard lock(mutex_);
    if (lanes_alive_normally_ == 0) {
      // Without a scout: when there is nothing else to do.
      if (slots_.size() > 1 || has_work() || Clock::now() < slot.next_try) return;
      alone = true;
    }
  }
  const uint32_t number = slot.number;
  drop_lane(slot);
  (void)opener_.close(number);
  if (!alone) return;
  (void)open_lane(slot, slot.home_rail);
  slot.next_try = Clock::now() + kRetryInterval;
}

// Destroys the lane. What it had on its way has left local memory alone then.
void LaneGroup::drop_lane(Slot& slot) {
  std::unique_ptr<Lane> lane;
  {
    std::lock_guard lock(lanes_mutex_);
    lane = std::move(slot.lane);
  }
  lane.reset();
  std::lock_guard lock(mutex_);
  --lanes_alive_;
  if (!is_last_resort(slot.rail)) --lanes_alive_normally_;
}

void LaneGroup::work(Slot& slot) {
  PageTransfer transfer{};
  {
    std::lock_guard lock(mutex_);
    if (!has_work()) return;
    transfer = transfer_;
    ++slots_working_;
  }
  const Status sent = send_chunks(slot, transfer);
  collect(slot);
  if (!sent) {
    slot.open.clear();
    recover(slot, sent.error());
  }
  std::lock_guard lock(mutex_);
  if (--slots_working_ > 0 || queue_.has_work()) {
    // Whoever rests may take what was put back.
    if (queue_.has_work()) changed_.notify_all();
    return;
  }
  round_open_ = false;
  finished_ = Clock::now();
  changed_.notify_all();
}

// On success everything that it took lies in the destination's memory.
Status LaneGroup::send_chunks(Slot& slot, const PageTransfer& transfer) {
  Clock::time_point confirmed = Clock::now();
  const auto is_time_to_confirm = [&] {
    return slot.taken.size() >= kUnconfirmedChunksMax ||
           Clock::now() - confirmed >= context_.stall_max / kConfirmsPerStall;
  };
  // A lane of last resort makes room as soon as there is a better one.
  while (!is_last_resort(slot.rail) || lanes_alive_normally_ == 0) {
    if (!open_chunk(slot, transfer)) break;
    RETURN_IF_ERROR(send_open_chunk(slot, transfer));
    collect(slot);
    if (!is_time_to_confirm()) continue;
    RETURN_IF_ERROR(confirm(slot, transfer));
    confirmed = Clock::now();
  }
  // A lane that had nothing to send has nothing to wait for either.
  return slot.taken.empty() ? Status() : confirm(slot, transfer);
}

// Returns false when there is nothing left for this lane.
bool LaneGroup::open_chunk(Slot& slot, const PageTransfer& transfer) {
  while (const auto taken = queue_.take(slot.rail)) {
    const Chunk& chunk = queue_.chunks()[taken->index];
    if (!has_pages(transfer.pages, chunk) && !has_pages(transfer.zeroes, chunk)) continue;
    slot.taken.push_back(taken->index);
    slot.share = taken->share;
    slot.open.open({taken->index, taken->turn, {0, chunk.pages.page_count}});
    return true;
  }
  return take_over(slot, transfer);
}

// At the end of a round: from the lane that has most left which it has not begun. If that lane is
// lost, the whole chunk is sent again, what was taken over as well: no harm within a round.
bool LaneGroup::take_over(Slot& slot, const PageTransfer& transfer) {
  while (!slot.lane->is_slow()) {
    OpenChunk* fullest = nullptr;
    uint64_t most_bytes = kTakeOverBytesMin - 1;
    for (const auto& other : slots_) {
      const OpenChunk::Part left = other->open.left();
      const uint64_t bytes = left.pages.page_count * page_bytes(left.index);
      if (bytes <= most_bytes) continue;
      fullest = &other->open;
      most_bytes = bytes;
    }
    if (fullest == nullptr) return false;
    const auto part = fullest->take_over(pages_in(fullest->left().index, kTakeOverBytesMin));
    if (!part) continue;
    const Chunk chunk = chunk_of(*part);
    if (!has_pages(transfer.pages, chunk) && !has_pages(transfer.zeroes, chunk)) continue;
    slot.taken.push_back(part->index);
    slot.share = queue_.share_of(part->index, slot.rail);
    slot.open.open(*part);
    return true;
  }
  return false;
}

Status LaneGroup::send_open_chunk(Slot& slot, const PageTransfer& transfer) {
  while (true) {
    const uint64_t bite_bytes = slot.lane->is_slow() ? kSlowBiteBytes : kBiteBytes;
    const auto part = slot.open.bite(pages_in(slot.open.left().index, bite_bytes));
    if (!part) return {};
    RETURN_IF_ERROR(slot.lane->send_chunk(chunk_of(*part), part->turn, transfer));
  }
}

Chunk LaneGroup::chunk_of(const OpenChunk::Part& part) const {
  const Chunk& whole = queue_.chunks()[part.index];
  return {whole.block, {whole.pages.first_page + part.pages.first_page, part.pages.page_count}};
}

uint64_t LaneGroup::page_bytes(ChunkIndex chunk) const {
  return context_.memory[queue_.chunks()[chunk].block].page_size_bytes;
}

uint64_t LaneGroup::pages_in(ChunkIndex chunk, uint64_t bytes) const {
  return std::max<uint64_t>(1, bytes / page_bytes(chunk));
}

Status LaneGroup::confirm(Slot& slot, const PageTransfer& transfer) {
  RETURN_IF_ERROR(slot.lane->finish_round(transfer));
  slot.taken.clear();
  std::lock_guard lock(mutex_);
  last_confirmed_ = Clock::now();
  losses_since_ = 0;
  return {};
}

void LaneGroup::recover(Slot& slot, Error reason) {
  if (context_.interruption.raised() || !is_lane_loss(reason)) return give_up(reason);
  {
    std::lock_guard lock(mutex_);
    if (error_) return;
  }
  const Clock::time_point noticed = Clock::now();
  const size_t rail = slot.rail;
  drop_lane(slot);
  // Before its pages travel by another lane: an old write must not overtake a newer one.
  const Result<std::string> lost_there = opener_.close(slot.number);
  if (lost_there && !lost_there->empty()) reason = lost_at_both_ends(reason, *lost_there);
  {
    std::lock_guard lock(mutex_);
    ++rails_[rail].losses;
    rails_[rail].last_loss = reason;
    last_loss_ = reason;
    ++losses_since_;
  }
  if (!lost_there) return give_up(reason);
  slot.next_try = Clock::now() + kRetryInterval;
  queue_.put_back(slot.taken);
  slot.taken.clear();
  {
    std::lock_guard lock(mutex_);
    rails_[rail].recovery_max = std::max(rails_[rail].recovery_max, Clock::now() - noticed);
    changed_.notify_all();
  }
  try_to_come_back(slot);
}

bool LaneGroup::is_hopeless() const {
  return has_work() && Clock::now() - last_confirmed_ > context_.stall_max &&
         (lanes_alive_ == 0 || losses_since_ > 2 * slots_.size()) && last_loss_;
}

void LaneGroup::give_up(const Error& error) {
  // The interruption stops the other lanes at once, and gives everybody the first error.
  context_.interruption.raise(error);
  const Status first = context_.interruption.check();
  std::lock_guard lock(mutex_);
  if (!error_) error_ = first ? error : first.error();
  changed_.notify_all();
}

void LaneGroup::collect(Slot& slot) {
  const LaneCounters counted = slot.lane->take_counters();
  bytes_sent_.fetch_add(counted.bytes_sent, std::memory_order_relaxed);
  std::lock_guard lock(mutex_);
  counters_.bytes_sent += counted.bytes_sent;
  counters_.pages_sent += counted.pages_sent;
  counters_.zero_pages += counted.zero_pages;
  counters_.torn_pages += counted.torn_pages;
  rails_[slot.rail].bytes_sent += counted.bytes_sent;
  rails_[slot.rail].slowdowns += counted.slowdowns;
  if (slot.share == Share::kAnothers) rails_[slot.rail].helped_bytes += counted.bytes_sent;
  for (const TornPage& page : slot.lane->torn()) (*torn_)[page.block].set(page.page);
  slot.lane->clear_torn();
}

}  // namespace godwit::precopy
