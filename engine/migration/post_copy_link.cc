// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/post_copy_link.h"

#include <algorithm>

namespace godwit {

bool is_link_loss(const Error& error) {
  return error.code == Errc::kPeerLost || error.code == Errc::kTimeout ||
         error.code == Errc::kSystem;
}

Progress progress_of(const FetchProgress& fetched, Clock::duration elapsed) {
  return {.phase = "post-copy",
          .bytes_sent = fetched.fetched_bytes,
          .bytes_remaining = fetched.outstanding_bytes,
          .throughput_bytes_per_s =
              static_cast<double>(fetched.fetched_bytes) / std::max(to_seconds(elapsed), 1e-3),
          .faults = fetched.faults,
          .fault_p50_us = fetched.fault_p50_us,
          .fault_p99_us = fetched.fault_p99_us};
}

}  // namespace godwit
