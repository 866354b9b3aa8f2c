// SPDX-License-Identifier: Apache-2.0
#include "engine/postcopy/stall_times.h"

#include <gtest/gtest.h>

namespace godwit::postcopy {
namespace {

TEST(StallTimes, AddsUpByVcpu) {
  StallTimes times;
  times.add(2, microseconds(40));
  times.add(0, microseconds(5));
  times.add(2, microseconds(2));

  EXPECT_EQ(times.vcpus(),
            (std::vector<nanoseconds>{microseconds(5), nanoseconds(0), microseconds(42)}));
  EXPECT_EQ(times.others(), nanoseconds(0));
}

TEST(StallTimes, CountsWhatIsNoVcpuApart) {
  StallTimes times;
  times.add(kNoVcpu, microseconds(7));
  times.add(1 << 20, microseconds(1));

  EXPECT_TRUE(times.vcpus().empty());
  EXPECT_EQ(times.others(), microseconds(8));
}

}  // namespace
}  // namespace godwit::postcopy
