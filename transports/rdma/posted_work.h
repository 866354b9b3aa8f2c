// SPDX-License-Identifier: Apache-2.0
//
// What stands in a send queue. A reliable connection completes its work requests in the order in
// which they were posted, so a completion of one is a completion of all before it, and only some
// have to be signalled.
//
// Requests are numbered from 1. One may carry several operations (neighbours, merged), or none (a
// message, a flush).
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "engine/transport.h"

namespace godwit {

class PostedWork {
 public:
  PostedWork(uint32_t requests_max, uint32_t operations_max);

  // The queue has turned out shorter. Requires: nothing was posted yet.
  void limit_requests(uint32_t requests_max);

  uint32_t requests_free() const {
    return requests_max_ - static_cast<uint32_t>(requests_posted_ - requests_completed_);
  }
  uint32_t requests_in_flight() const { return requests_max_ - requests_free(); }
  uint32_t operations_free() const {
    return operations_max_ - static_cast<uint32_t>(operations_posted_ - operations_taken_);
  }
  uint64_t last_posted() const { return requests_posted_; }
  bool is_complete(uint64_t request) const { return request <= requests_completed_; }
  bool all_complete() const { return requests_completed_ == requests_posted_; }
  // Operations that take() has not returned yet.
  bool has_operations() const { return operations_posted_ != operations_taken_; }

  // Adds an operation to the request that is posted next.
  void add_operation(uint64_t tag);
  // Returns the number of the request. Requires: requests_free() > 0.
  uint64_t post();

  // The device is done with `request` and with all before it.
  void complete(uint64_t request);
  // The same without success: it and all before it that are not complete never will be.
  void let_go(uint64_t request);
  // The connection has ended: what is not complete never will be.
  void end();

  // Moves completed operations out, in order.
  size_t take(std::span<Completion> completions);

 private:
  uint32_t requests_max_;
  const uint32_t operations_max_;
  std::unique_ptr<uint64_t[]> tags_;            // ring, by operation
  std::unique_ptr<uint64_t[]> operations_end_;  // ring, by request: operations up to its end
  uint64_t requests_posted_ = 0;
  uint64_t requests_completed_ = 0;  // or let go
  uint64_t operations_posted_ = 0;
  uint64_t operations_completed_ = 0;
  uint64_t operations_ended_ = 0;  // with end(): these, too, but as flushed
  uint64_t operations_taken_ = 0;
};

}  // namespace godwit
