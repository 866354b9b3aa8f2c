// SPDX-License-Identifier: Apache-2.0
#include "engine/relay/page_lane.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/units.h"

namespace godwit::relay {
namespace {

constexpr size_t kOperationsMax = 64;

}  // namespace

// Nothing goes through a ring.
PageLane::PageLane(const Parts& parts)
    : parts_(parts), lane_(parts.endpoint, 0, [this](const Completion& completion) {
        parts_.torn.note(completion);
      }) {
  operations_.reserve(kOperationsMax);
}

Status PageLane::run() {
  return lane_.carry(
      parts_.channel.stream(), [this] { return parts_.channel.read_some(*this); },
      [this] { return settle(); });
}

Status PageLane::place(uint32_t block, std::span<const PageRun> runs) {
  const PlacingSender::Block& place = parts_.blocks[block];
  CHECK(place.guest != nullptr);
  for (const PageRun& run : runs) {
    parts_.placed.set(block, run);
    const uint64_t end_bytes = (run.first_page + run.page_count) * kBasePageBytes;
    for (uint64_t offset = run.first_page * kBasePageBytes; offset < end_bytes;) {
      const uint64_t size = std::min(end_bytes - offset, kOperationBytesMax);
      if (operations_.size() == kOperationsMax) RETURN_IF_ERROR(post());
      operations_.push_back({.local = place.guest,
                             .local_offset_bytes = offset,
                             .remote = place.remote,
                             .remote_offset_bytes = offset,
                             .size_bytes = static_cast<uint32_t>(size),
                             .tag = TornPages::tag_of({block, offset / kBasePageBytes})});
      offset += size;
      placed_bytes_ += size;
    }
  }
  return post();
}

Status PageLane::post() {
  if (operations_.empty()) return {};
  RETURN_IF_ERROR(lane_.post(operations_, SourceMemory::kLive));
  operations_.clear();
  return {};
}

// Nothing else of this round is of these pages, so that it does not matter when it is said.
Status PageLane::clear(uint32_t block, std::span<const PageRun> runs) {
  for (const PageRun& run : runs) {
    for (uint64_t page = run.first_page; page < run.first_page + run.page_count; ++page)
      RETURN_IF_ERROR(clear_page(block, page));
  }
  return {};
}

Status PageLane::clear_page(uint32_t block, uint64_t page) {
  if (zeroes_.add(block, page, parts_.placed)) return {};
  RETURN_IF_ERROR(send_zeroes());
  CHECK(zeroes_.add(block, page, parts_.placed));
  return {};
}

Status PageLane::send_zeroes() {
  if (zeroes_.empty()) return {};
  RETURN_IF_ERROR(lane_.send(zeroes_.message()));
  zeroes_.clear();
  return {};
}

Status PageLane::settle() {
  RETURN_IF_ERROR(send_zeroes());
  return lane_.wait_for_receiver();
}

PageLanes::PageLanes(std::vector<PageLane::Parts> lanes, Interruption& interruption)
    : parts_(std::move(lanes)) {
  wake_ = interruption.on_raise([this] {
    for (const PageLane::Parts& parts : parts_) {
      parts.channel.shut_down();
      parts.endpoint.shut_down();
    }
  });
  for (const PageLane::Parts& parts : parts_) {
    PageLane& lane = *lanes_.emplace_back(std::make_unique<PageLane>(parts));
    threads_.emplace_back([&lane, &interruption] {
      if (const Status carried = lane.run(); !carried) interruption.raise(carried.error());
    });
  }
}

PageLanes::~PageLanes() {
  end();
}

void PageLanes::end() {
  for (const PageLane::Parts& parts : parts_) parts.channel.end_reading();
  threads_.clear();
}

uint64_t PageLanes::placed_bytes() const {
  uint64_t bytes = 0;
  for (const auto& lane : lanes_) bytes += lane->placed_bytes();
  return bytes;
}

uint64_t PageLanes::read_bytes() const {
  uint64_t bytes = 0;
  for (const PageLane::Parts& parts : parts_) bytes += parts.channel.read_bytes();
  return bytes;
}

}  // namespace godwit::relay
