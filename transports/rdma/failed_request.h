// SPDX-License-Identifier: Apache-2.0
//
// What a failed work request means, in words that a user can act on. Verbs reports a status; what
// was asked for, and of whom, is ours to remember.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/base/result.h"
#include "transports/rdma/verbs_handles.h"

namespace godwit {

// What a work request is for. A failed completion does not say (ibv_poll_cq(3): only its wr_id,
// status, qp_num and vendor_err are valid), so that its wr_id does.
enum class RequestKind : uint8_t { kWrite = 1, kRead, kSend, kFlush, kReceive };

// The wr_id of a request: its kind, and its number or buffer.
constexpr uint64_t request_id(RequestKind kind, uint64_t number) {
  return static_cast<uint64_t>(kind) << 56 | number;
}
constexpr RequestKind kind_of(uint64_t request_id) {
  return static_cast<RequestKind>(request_id >> 56);
}
constexpr uint64_t number_of(uint64_t request_id) {
  return request_id & ((uint64_t{1} << 56) - 1);
}

// "error": the queue pair's state, for messages.
const char* to_string(ibv_qp_state state);

struct FailedRequest {
  RequestKind kind;
  ibv_wc_status status;
  uint32_t vendor_error;
  uint32_t queue_pair;
  ibv_qp_state state;
};

// "lane to 10.77.0.2:4471: a write failed: the peer does not answer any more … (retry counter
// exceeded, vendor error 0x81, queue pair 17 in state error)". Errors: kCorrupt when the peer or we
// named memory that is not there; kSystem when it is this host's doing; else kPeerLost.
Error describe(const FailedRequest& request, std::string_view peer);

}  // namespace godwit
