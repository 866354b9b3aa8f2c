// SPDX-License-Identifier: Apache-2.0
#include "engine/postcopy/page_server.h"

#include <algorithm>
#include <array>

namespace godwit::postcopy {
namespace {

// A lane that could not be opened is tried again, ever more rarely.
constexpr Clock::duration kFirstBackOff = milliseconds(5);
constexpr Clock::duration kBackOffMax = milliseconds(500);

}  // namespace

PageServer::PageServer(precopy::LaneOpener& opener, const ServedLanes& lanes) : opener_(opener) {
  for (const auto& rails : lanes.faults)
    slots_.push_back(std::make_unique<Slot>(Slot{FetchKind::kFaults, rails, nullptr}));
  for (const auto& rails : lanes.background)
    slots_.push_back(std::make_unique<Slot>(Slot{FetchKind::kBackground, rails, nullptr}));
  for (const auto& slot : slots_) {
    threads_.emplace_back([this, &slot = *slot](const std::stop_token& stop) { run(slot, stop); });
  }
}

PageServer::~PageServer() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    for (const auto& slot : slots_) {
      if (slot->endpoint != nullptr) slot->endpoint->shut_down();
    }
  }
  for (std::jthread& thread : threads_) thread.request_stop();
  threads_.clear();
}

Status PageServer::await_lanes(Deadline deadline) {
  const auto has = [this](FetchKind kind) {
    return std::ranges::any_of(slots_, [kind](const auto& slot) {
      return slot->kind == kind && slot->endpoint != nullptr;
    });
  };
  std::unique_lock lock(mutex_);
  const bool open = changed_.wait_until(
      lock, deadline, [&] { return has(FetchKind::kFaults) && has(FetchKind::kBackground); });
  if (!open) {
    return fail(Errc::kPeerLost, "no lane to fetch pages by: {}", to_string(last_error_));
  }
  return {};
}

uint32_t PageServer::losses() const {
  std::lock_guard lock(mutex_);
  return losses_;
}

void PageServer::run(Slot& slot, const std::stop_token& stop) {
  if (slot.kind == FetchKind::kFaults) {
    urgency_.note(make_this_thread_urgent());
  } else {
    (void)make_this_thread_give_way();
  }
  Clock::duration back_off = kFirstBackOff;
  while (!stop.stop_requested()) {
    Status opened = open(slot);
    if (opened) {
      back_off = kFirstBackOff;
      const Error lost = serve(*slot.endpoint, stop);
      std::unique_ptr<Endpoint> endpoint;
      std::lock_guard lock(mutex_);
      endpoint = std::move(slot.endpoint);
      if (!ending_) ++losses_;
      opened = tl::unexpected<Error>(lost);
    }
    std::unique_lock lock(mutex_);
    last_error_ = opened.error();
    changed_.wait_for(lock, stop, back_off, [] { return false; });
    back_off = std::min(back_off * 2, kBackOffMax);
  }
}

Status PageServer::open(Slot& slot) {
  Status opened;
  for (size_t rail : slot.rails) {
    opened = open_by(slot, rail);
    if (opened) break;
  }
  return opened;
}

Status PageServer::open_by(Slot& slot, size_t rail) {
  ASSIGN_OR_RETURN(precopy::OpenedLane lane, opener_.open(rail));
  RETURN_IF_ERROR(lane.endpoint->send(
      encode_lane_message(godwit::FetchLane{slot.kind, static_cast<uint32_t>(rail)}),
      deadline_in(seconds(2))));
  std::lock_guard lock(mutex_);
  if (ending_) lane.endpoint->shut_down();
  slot.endpoint = std::move(lane.endpoint);
  changed_.notify_all();
  return {};
}

Error PageServer::serve(Endpoint& endpoint, const std::stop_token& stop) {
  std::array<std::byte, kLaneMessageBytesMax> buffer;
  while (!stop.stop_requested()) {
    const Result<size_t> message = endpoint.receive(buffer, deadline_in(seconds(5)));
    if (message) return fail(Errc::kCorrupt, "the destination talks on a fetch lane").value();
    if (message.error().code != Errc::kTimeout) return message.error();
  }
  return fail(Errc::kCancelled, "the pages are not served any more").value();
}

}  // namespace godwit::postcopy
