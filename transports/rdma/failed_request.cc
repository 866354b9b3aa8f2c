// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/failed_request.h"

namespace godwit {
namespace {

const char* name_of(RequestKind kind) {
  switch (kind) {
    case RequestKind::kWrite:
      return "a write";
    case RequestKind::kRead:
      return "a read";
    case RequestKind::kSend:
      return "a message";
    case RequestKind::kFlush:
      return "a flush";
    case RequestKind::kReceive:
      return "a receive";
  }
  return "a request";
}

Errc code_of(ibv_wc_status status) {
  switch (status) {
    case IBV_WC_REM_ACCESS_ERR:
    case IBV_WC_REM_INV_REQ_ERR:
    case IBV_WC_LOC_LEN_ERR:
      return Errc::kCorrupt;
    case IBV_WC_LOC_PROT_ERR:
    case IBV_WC_LOC_QP_OP_ERR:
      return Errc::kSystem;
    default:
      return Errc::kPeerLost;
  }
}

// What happened, and what to look at where there is something to look at.
const char* meaning_of(ibv_wc_status status) {
  switch (status) {
    case IBV_WC_RETRY_EXC_ERR:
      return "the peer does not answer any more: it has stopped, or the network between is down "
             "(cable, switch, MTU, UDP port 4791 in a firewall)";
    case IBV_WC_RNR_RETRY_EXC_ERR:
      return "the peer has no buffer for it: its agent hangs, or is starved of CPU time";
    case IBV_WC_REM_ACCESS_ERR:
      return "the peer's device refused access to that memory: it is not registered, or not for "
             "this";
    case IBV_WC_REM_INV_REQ_ERR:
      return "the peer's device refused the request as invalid";
    case IBV_WC_REM_OP_ERR:
      return "the peer's device could not carry it out; its own log says why";
    case IBV_WC_LOC_PROT_ERR:
      return "the local memory is not registered for it";
    case IBV_WC_LOC_LEN_ERR:
      return "it is longer than its buffer, or than the device takes";
    case IBV_WC_LOC_QP_OP_ERR:
      return "this host's device could not carry it out (dmesg)";
    case IBV_WC_WR_FLUSH_ERR:
      return "the queue pair had stopped before it was carried out";
    case IBV_WC_FATAL_ERR:
    case IBV_WC_GENERAL_ERR:
      return "this host's device failed (dmesg)";
    default:
      return "the device reports an error";
  }
}

}  // namespace

const char* to_string(ibv_qp_state state) {
  switch (state) {
    case IBV_QPS_RESET:
      return "reset";
    case IBV_QPS_INIT:
      return "initialised";
    case IBV_QPS_RTR:
      return "ready to receive";
    case IBV_QPS_RTS:
      return "ready to send";
    case IBV_QPS_SQD:
      return "send queue drained";
    case IBV_QPS_SQE:
      return "send queue error";
    case IBV_QPS_ERR:
      return "error";
    case IBV_QPS_UNKNOWN:
      break;
  }
  return "unknown";
}

Error describe(const FailedRequest& request, std::string_view peer) {
  return fail(code_of(request.status),
              "lane to {}: {} failed: {} ({}, vendor error {:#x}, queue pair {} in state {})", peer,
              name_of(request.kind), meaning_of(request.status), ibv_wc_status_str(request.status),
              request.vendor_error, request.queue_pair, to_string(request.state))
      .value();
}

}  // namespace godwit
