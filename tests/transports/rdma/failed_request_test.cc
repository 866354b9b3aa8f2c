// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/failed_request.h"

#include <gtest/gtest.h>

#include <string>

namespace godwit {
namespace {

Error failure(RequestKind kind, ibv_wc_status status) {
  return describe({.kind = kind,
                   .status = status,
                   .vendor_error = 0x81,
                   .queue_pair = 17,
                   .state = IBV_QPS_ERR},
                  "10.77.0.2:4471");
}

TEST(FailedRequest, NamesWhatWasAskedOfWhomAndWhatTheDeviceSaid) {
  const std::string text = to_string(failure(RequestKind::kWrite, IBV_WC_RETRY_EXC_ERR));

  for (const char* part :
       {"10.77.0.2:4471", "a write", "does not answer", "queue pair 17", "state error",
        "vendor error 0x81", ibv_wc_status_str(IBV_WC_RETRY_EXC_ERR)})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
}

TEST(FailedRequest, NoMessageIsCut) {
  for (int status = IBV_WC_SUCCESS; status <= IBV_WC_GENERAL_ERR; ++status) {
    const std::string text =
        to_string(failure(RequestKind::kReceive, static_cast<ibv_wc_status>(status)));

    EXPECT_EQ(text.back(), ')') << text;
  }
}

TEST(FailedRequest, TellsAccessFromLossFromThisHost) {
  EXPECT_EQ(failure(RequestKind::kWrite, IBV_WC_REM_ACCESS_ERR).code, Errc::kCorrupt);
  EXPECT_EQ(failure(RequestKind::kRead, IBV_WC_REM_INV_REQ_ERR).code, Errc::kCorrupt);
  EXPECT_EQ(failure(RequestKind::kSend, IBV_WC_RNR_RETRY_EXC_ERR).code, Errc::kPeerLost);
  EXPECT_EQ(failure(RequestKind::kFlush, IBV_WC_RETRY_EXC_ERR).code, Errc::kPeerLost);
  EXPECT_EQ(failure(RequestKind::kSend, IBV_WC_WR_FLUSH_ERR).code, Errc::kPeerLost);
  EXPECT_EQ(failure(RequestKind::kWrite, IBV_WC_LOC_PROT_ERR).code, Errc::kSystem);
}

TEST(FailedRequest, AnIdentifierKeepsKindAndNumber) {
  const uint64_t id = request_id(RequestKind::kReceive, 31);

  EXPECT_EQ(kind_of(id), RequestKind::kReceive);
  EXPECT_EQ(number_of(id), 31U);
}

}  // namespace
}  // namespace godwit
