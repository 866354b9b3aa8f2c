// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/retry_timing.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

TEST(RetryTiming, ASilentPeerIsLostWithinItsTimeOut) {
  for (const milliseconds peer_timeout :
       {milliseconds(100), milliseconds(250), milliseconds(1000), milliseconds(3000),
        milliseconds(10000), milliseconds(600000)}) {
    const RetryTiming timing = retry_timing(peer_timeout);

    EXPECT_LE(timing.all_tries(), peer_timeout / 2) << peer_timeout.count();
    EXPECT_LE(sign_of_life_interval(peer_timeout) + timing.all_tries(), peer_timeout);
  }
}

TEST(RetryTiming, TakesAllRetriesWhereTheTimeAllows) {
  EXPECT_EQ(retry_timing(seconds(1)).retries, 6);  // 7 may mean without end
  EXPECT_EQ(retry_timing(seconds(1)).timeout_exponent, 14);
  EXPECT_EQ(retry_timing(seconds(10)).timeout_exponent, 17);
}

TEST(RetryTiming, NoTryIsShorterThanAHostMayTakeToAnswer) {
  const RetryTiming timing = retry_timing(milliseconds(1));

  EXPECT_EQ(timing.timeout_exponent, 12);
  EXPECT_EQ(timing.retries, 1);
}

}  // namespace
}  // namespace godwit
