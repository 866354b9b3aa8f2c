// SPDX-License-Identifier: Apache-2.0
//
// RAII for one io_uring, as an endpoint uses it: one thread submits, completions are reaped by that
// thread only, and where the kernel can, its part of the work is done on that thread too, when it
// asks (DEFER_TASKRUN), so that nothing interrupts a copy half-way.
#pragma once

#include <liburing.h>

#include <memory>

#include "engine/base/result.h"
#include "engine/base/time.h"

namespace godwit {

class Ring {
 public:
  // Thread: the one that calls open() makes all later calls.
  static Result<std::unique_ptr<Ring>> open(unsigned entries);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // Returns a cleared entry; submits what is there when the queue is full.
  io_uring_sqe* next_entry();

  // Submits, and lets the kernel finish what it can finish now. Without anything to submit that is
  // left to peek(), which enters the kernel only when the kernel says that it has something.
  Status submit();
  // Submits and waits for a completion, at most until the deadline.
  Status submit_and_wait(Deadline deadline);

  // Returns the oldest completion, or null. It is gone after seen().
  io_uring_cqe* peek();
  void seen(io_uring_cqe* completion) { io_uring_cqe_seen(&ring_, completion); }

  io_uring* get() { return &ring_; }

 private:
  Ring() = default;

  io_uring ring_{};
};

}  // namespace godwit
