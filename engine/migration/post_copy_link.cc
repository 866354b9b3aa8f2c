// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/post_copy_link.h"

#include <algorithm>

namespace godwit {

bool is_link_loss(const Error& error) {
  return error.code == Errc::kPeerLost || error.code == Errc::kTimeout ||
         error.code == Errc::kSystem;
}

Progress FetchView::show(const FetchProgress& fetched, Clock::time_point now) {
  // An agent that takes over at the destination counts from nothing.
  if (!since_ || fetched.fetched_bytes < bytes_seen_) {
    since_ = now;
    bytes_before_ = fetched.fetched_bytes;
  }
  bytes_seen_ = fetched.fetched_bytes;
  return {.phase = "post-copy",
          .bytes_sent = fetched.fetched_bytes,
          .bytes_remaining = fetched.outstanding_bytes,
          .throughput_bytes_per_s = static_cast<double>(fetched.fetched_bytes - bytes_before_) /
                                    std::max(to_seconds(now - *since_), 1e-3),
          .faults = fetched.faults,
          .fault_p50_us = fetched.fault_p50_us,
          .fault_p99_us = fetched.fault_p99_us};
}

}  // namespace godwit
