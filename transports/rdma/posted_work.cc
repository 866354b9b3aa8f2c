// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/posted_work.h"

#include <algorithm>

#include "engine/base/check.h"

namespace godwit {

PostedWork::PostedWork(uint32_t requests_max, uint32_t operations_max)
    : requests_max_(requests_max),
      operations_max_(operations_max),
      tags_(std::make_unique<uint64_t[]>(operations_max)),
      operations_end_(std::make_unique<uint64_t[]>(requests_max)) {}

void PostedWork::limit_requests(uint32_t requests_max) {
  CHECK(requests_posted_ == 0 && requests_max <= requests_max_);
  requests_max_ = requests_max;
}

void PostedWork::add_operation(uint64_t tag) {
  DCHECK(operations_free() > 0);
  tags_[operations_posted_++ % operations_max_] = tag;
}

uint64_t PostedWork::post() {
  DCHECK(requests_free() > 0);
  ++requests_posted_;
  operations_end_[requests_posted_ % requests_max_] = operations_posted_;
  return requests_posted_;
}

void PostedWork::complete(uint64_t request) {
  CHECK(request <= requests_posted_);
  if (request <= requests_completed_) return;
  requests_completed_ = request;
  operations_completed_ = operations_end_[request % requests_max_];
}

void PostedWork::let_go(uint64_t request) {
  CHECK(request <= requests_posted_);
  requests_completed_ = std::max(requests_completed_, request);
}

void PostedWork::end() {
  requests_completed_ = requests_posted_;
  operations_ended_ = operations_posted_;
}

size_t PostedWork::take(std::span<Completion> completions) {
  const uint64_t end = std::max(operations_completed_, operations_ended_);
  size_t count = 0;
  while (count < completions.size() && operations_taken_ < end) {
    const bool done = operations_taken_ < operations_completed_;
    completions[count++] = {.tag = tags_[operations_taken_ % operations_max_],
                            .status = done ? OpStatus::kOk : OpStatus::kFlushed,
                            .torn_pages = 0};
    ++operations_taken_;
  }
  return count;
}

}  // namespace godwit
