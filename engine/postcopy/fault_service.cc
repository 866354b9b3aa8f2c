// SPDX-License-Identifier: Apache-2.0
//
// PageFetcher: how faults are served, with a lane and without one.
#include <poll.h>

#include <algorithm>
#include <array>
#include <bit>

#include "engine/base/units.h"
#include "engine/postcopy/page_fetcher.h"

namespace godwit::postcopy {
namespace {

// Without real-time priority: faults come in bursts, and this long after the last one the next is
// still looked for, since a thread that sleeps has to wait for its turn. Longer would take the CPU
// from the guest, which computes between its faults.
constexpr Clock::duration kLookForFaults = microseconds(50);
// Where a lane cannot sleep with the faults: so long the answer is waited for before other faults
// are looked for, about as long as it takes.
constexpr Clock::duration kAnswer = microseconds(30);
// A sleeping lane looks this often whether its connection still lives.
constexpr Clock::duration kSleep = milliseconds(50);
constexpr size_t kFaultsAtOnce = 16;
// A page that somebody waits for travels alone, and behind it what follows it, up to so much with
// it. That a fault costs as much CPU as 15 pages that come unasked is why: without it a guest that
// faults all the time has its memory page by page, and the background no CPU to bring it sooner.
constexpr uint64_t kFaultBytes = 64 * kKiB;

}  // namespace

Status PageFetcher::serve_faults(FetchLane& lane, Endpoint& endpoint, const std::stop_token& stop) {
  const Urgency urgency = make_this_thread_urgent();
  urgency_.note(urgency);
  {
    // The watchman has read faults that it could not serve: from here on it reads none.
    std::lock_guard lock(watch_mutex_);
    ++fault_lanes_;
  }
  struct Leave {
    PageFetcher& fetcher;
    ~Leave() {
      std::lock_guard lock(fetcher.mutex_);
      --fetcher.fault_lanes_;
      fetcher.changed_.notify_all();
    }
  } leave{*this};
  RETURN_IF_ERROR(wake_all());

  const bool sleeps = urgency == Urgency::kRealTime;
  const bool sleeps_with_faults = sleeps && endpoint.sleep_with(faults_.fd());
  const Clock::duration answer = sleeps_with_faults ? kSleep : kAnswer;
  const Clock::duration look = sleeps ? Clock::duration::zero() : kLookForFaults;
  std::array<PageFault, kFaultsAtOnce> faults;
  std::array<std::byte, kLaneMessageBytesMax> message;
  Clock::time_point look_until = Clock::now() + look;
  while (!stop.stop_requested() && !ending_) {
    bool busy = false;
    if (lane.has_room(2 * faults.size())) {
      ASSIGN_OR_RETURN(const size_t count, faults_.read(faults));
      const Clock::time_point now = Clock::now();
      for (size_t i = 0; i < count; ++i) RETURN_IF_ERROR(handle(lane, faults[i], now));
      busy = count > 0;
    }
    if (!lane.idle()) {
      busy = true;
      const Deadline deadline = sleeps ? deadline_in(answer) : Deadline::min();
      RETURN_IF_ERROR(lane.take(deadline, [this](const Claim& claim) { note_arrival(claim); }));
    }
    waiters_.drop_missing(ledger_);
    if (busy) {
      look_until = Clock::now() + look;
    } else if (Clock::now() >= look_until) {
      look_until = Clock::now() + look;
      if (sleep_for_faults(kSleep)) continue;
      const Result<size_t> talk = endpoint.receive(message, Deadline::min());
      if (!talk && talk.error().code != Errc::kTimeout) return tl::unexpected<Error>(talk.error());
    }
  }
  return {};
}

// What is missing of the pages behind the one that somebody waits for.
std::optional<PageRun> PageFetcher::claim_behind(const PageFault& fault) {
  const GuestBlock& block = memory_[fault.block];
  const uint64_t end =
      std::min(fault.page + kFaultBytes / block.page_size_bytes, block.page_count());
  const uint64_t next = fault.page + 1;
  return next < end ? ledger_.claim(fault.block, {next, end - next}) : std::nullopt;
}

Status PageFetcher::handle(FetchLane& lane, const PageFault& fault, Clock::time_point now) {
  fault_count_.fetch_add(1, std::memory_order_relaxed);
  const Wait wait{now, fault.vcpu};
  while (true) {
    if (const auto claimed = ledger_.claim(fault.block, {fault.page, 1})) {
      faults_fetched_.fetch_add(1, std::memory_order_relaxed);
      RETURN_IF_ERROR(lane.fetch({fault.block, *claimed, wait}));
      if (const auto behind = claim_behind(fault))
        RETURN_IF_ERROR(lane.fetch({fault.block, *behind, std::nullopt}));
      order_.note_fault(fault.block, fault.page);
      return {};
    }
    switch (ledger_.state(fault.block, fault.page)) {
      case PageState::kReceived:
        RETURN_IF_ERROR(serve_received(fault));
        note_served(wait);
        return {};
      case PageState::kInFlight:
        // Whoever fetches it installs it, or gives it back and wakes those who wait.
        waiters_.add(ledger_, {fault.block, {fault.page, 1}}, wait,
                     [this](const Wait& ended) { note_served(ended); });
        order_.note_fault(fault.block, fault.page);
        return {};
      case PageState::kMissing:
        break;  // given back just now
    }
  }
}

Status PageFetcher::serve_received(const PageFault& fault) {
  if (fault.kind == FaultKind::kHole) return faults_.install_zeroes(fault.block, {fault.page, 1});
  RETURN_IF_ERROR(faults_.install(fault.block, {fault.page, 1}));
  // The guest is on its way; its next touches are probably near.
  auto& word = installed_[fault.block][fault.page / kPagesPerWord];
  const PageRun run = ledger_.received_around(fault.block, fault.page, kPagesPerWord);
  const uint64_t first = run.first_page % kPagesPerWord;
  const uint64_t bits = run.page_count >= kPagesPerWord
                            ? ~uint64_t{0}
                            : ((uint64_t{1} << run.page_count) - 1) << first;
  uint64_t wanted = bits & ~word.fetch_or(bits, std::memory_order_relaxed);
  wanted &= ~(uint64_t{1} << (fault.page % kPagesPerWord));
  const uint64_t base = fault.page / kPagesPerWord * kPagesPerWord;
  while (wanted != 0) {
    const auto from = static_cast<uint64_t>(std::countr_zero(wanted));
    const auto count = static_cast<uint64_t>(std::countr_one(wanted >> from));
    RETURN_IF_ERROR(faults_.install(fault.block, {base + from, count}));
    wanted &= ~((count == kPagesPerWord ? ~uint64_t{0} : (uint64_t{1} << count) - 1) << from);
  }
  return {};
}

// Serves what is here while there is no lane for faults. What is missing is dropped: the next lane
// wakes everybody, and they ask again.
void PageFetcher::watch_without_lane(const std::stop_token& stop) {
  while (!stop.stop_requested() && !ending_) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, stop, [this] { return fault_lanes_ == 0 || ending_; });
    }
    {
      std::lock_guard lock(watch_mutex_);
      const Status status = fault_lanes_ == 0 ? serve_what_is_here() : Status();
      if (!status) return fail_with(status.error());
    }
    (void)sleep_for_faults(kSleep);
  }
}

Status PageFetcher::serve_what_is_here() {
  std::array<PageFault, 16> faults;
  while (true) {
    ASSIGN_OR_RETURN(const size_t count, faults_.read(faults));
    if (count == 0) return {};
    for (const PageFault& fault : std::span(faults).first(count)) {
      if (ledger_.state(fault.block, fault.page) == PageState::kReceived)
        RETURN_IF_ERROR(serve_received(fault));
    }
  }
}

Status PageFetcher::wake_all() {
  for (uint32_t block = 0; block < memory_.size(); ++block)
    RETURN_IF_ERROR(faults_.wake(block, {0, memory_[block].page_count()}));
  return {};
}

// Until a fault waits (true), all is over, or the time has passed.
bool PageFetcher::sleep_for_faults(Clock::duration time) {
  std::array<pollfd, 2> events{pollfd{faults_.fd(), POLLIN, 0}, pollfd{ended_.fd(), POLLIN, 0}};
  const int ready =
      ::poll(events.data(), events.size(),
             std::max(1, static_cast<int>(duration_cast<milliseconds>(time).count())));
  return ready > 0 && events[0].revents != 0;
}

}  // namespace godwit::postcopy
