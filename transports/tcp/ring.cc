// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/ring.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "engine/base/check.h"

namespace godwit {
namespace {

// From what the newest kernels offer to what every kernel with io_uring has.
constexpr std::array<unsigned, 3> kSetupFlags = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0};

// Returns what a submission's result means to the caller. Being interrupted, being out of time and
// being asked to reap first are all "look at the completions".
Status judge(int result) {
  // One of our threads used another's endpoint.
  CHECK(result != -EEXIST);
  if (result >= 0 || result == -EINTR || result == -ETIME || result == -EAGAIN ||
      result == -EBUSY) {
    return {};
  }
  return fail_errno(-result, "io_uring_enter");
}

}  // namespace

Result<std::unique_ptr<Ring>> Ring::open(unsigned entries) {
  int result = -EINVAL;
  for (unsigned flags : kSetupFlags) {
    std::unique_ptr<Ring> ring(new Ring());
    result = io_uring_queue_init(entries, &ring->ring_, flags);
    if (result == 0) return ring;
    ring->ring_.ring_fd = -1;
    if (result != -EINVAL) break;
  }
  if (result == -ENOSYS || result == -EPERM) {
    return fail_errno(-result, "set up io_uring (is kernel.io_uring_disabled set?)");
  }
  return fail_errno(-result, "set up an io_uring with {} entries", entries);
}

Ring::~Ring() {
  if (ring_.ring_fd >= 0) io_uring_queue_exit(&ring_);
}

io_uring_sqe* Ring::next_entry() {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  if (entry == nullptr) {
    io_uring_submit(&ring_);
    entry = io_uring_get_sqe(&ring_);
  }
  CHECK(entry != nullptr);
  return entry;
}

Status Ring::submit() {
  if (io_uring_sq_ready(&ring_) == 0) return {};
  return judge(io_uring_submit_and_get_events(&ring_));
}

Status Ring::submit_and_wait(Deadline deadline) {
  // A deadline may be "never": an hour is as good, the caller looks again.
  auto left = std::min<Clock::duration>(deadline - Clock::now(), std::chrono::hours(1));
  if (left <= Clock::duration::zero()) return submit();
  auto whole_seconds = duration_cast<seconds>(left);
  __kernel_timespec timeout{.tv_sec = whole_seconds.count(),
                            .tv_nsec = duration_cast<nanoseconds>(left - whole_seconds).count()};
  io_uring_cqe* completion = nullptr;
  return judge(io_uring_submit_and_wait_timeout(&ring_, &completion, 1, &timeout, nullptr));
}

io_uring_cqe* Ring::peek() {
  io_uring_cqe* completion = nullptr;
  return io_uring_peek_cqe(&ring_, &completion) == 0 ? completion : nullptr;
}

}  // namespace godwit
