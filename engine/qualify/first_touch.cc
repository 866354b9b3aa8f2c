// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/first_touch.h"

#include <array>

namespace godwit::qualify {
namespace {

constexpr Clock::duration kTouchPatience = seconds(10);
constexpr uint64_t kUnderWayMax = 16;

Status touch(BenchLane& lane, const Interruption& interruption) {
  std::array<Completion, 16> completions;
  uint64_t under_way = 0;
  uint64_t next = 0;
  Deadline deadline = deadline_in(kTouchPatience);
  while (next < lane.size_bytes || under_way > 0) {
    RETURN_IF_ERROR(interruption.check());
    if (Clock::now() >= deadline) return fail(Errc::kTimeout, "memory cannot be used");
    if (next < lane.size_bytes && under_way < kUnderWayMax) {
      const TransferOp op{.local = lane.local,
                          .local_offset_bytes = lane.offset_bytes + next,
                          .remote = lane.remote,
                          .remote_offset_bytes = lane.offset_bytes + next,
                          .size_bytes = kBasePageBytes,
                          .tag = 0};
      ASSIGN_OR_RETURN(const size_t accepted,
                       lane.endpoint().post_writes({&op, 1}, SourceMemory::kFrozen));
      next += accepted * kPinnedBytesMin;
      under_way += accepted;
      if (accepted > 0) continue;
    }
    ASSIGN_OR_RETURN(const size_t count,
                     lane.endpoint().poll(completions, deadline_in(milliseconds(20))));
    under_way -= count;
    if (count > 0) deadline = deadline_in(kTouchPatience);
  }
  return {};
}

}  // namespace

Result<Clock::duration> touch_all(std::vector<BenchLane>& lanes, const Interruption& interruption) {
  const Clock::time_point begin = Clock::now();
  for (BenchLane& lane : lanes) {
    Status touched;
    lane.owner->start([&] { touched = touch(lane, interruption); });
    lane.owner->wait();
    RETURN_IF_ERROR(touched);
  }
  return Clock::now() - begin;
}

}  // namespace godwit::qualify
