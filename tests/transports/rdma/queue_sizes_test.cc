// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/queue_sizes.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

constexpr DeviceLimits kLarge{.requests_max = 32768,
                              .completions_max = 4194303,
                              .reads_served_max = 128,
                              .reads_asked_max = 128};

DeviceLimits with_queues_of(uint32_t requests, uint32_t completions) {
  DeviceLimits limits = kLarge;
  limits.requests_max = requests;
  limits.completions_max = completions;
  return limits;
}

TEST(QueueSizes, ALargeDeviceGivesWhatWeWant) {
  const QueueSizes sizes = queue_sizes(kLarge).value();

  EXPECT_EQ(sizes.requests, kRdmaRequestsMax);
  EXPECT_EQ(sizes.completions, kRdmaRequestsMax + kRdmaMessagesInFlightMax);
}

TEST(QueueSizes, ASmallDeviceGivesWhatItHas) {
  EXPECT_EQ(queue_sizes(with_queues_of(200, 4096)).value().requests, 200U);
  EXPECT_EQ(queue_sizes(with_queues_of(200, 4096)).value().completions, 232U);
}

TEST(QueueSizes, AShortCompletionQueueMakesTheOthersShort) {
  const QueueSizes sizes = queue_sizes(with_queues_of(1024, 256)).value();

  EXPECT_EQ(sizes.requests, 224U);
  EXPECT_EQ(sizes.completions, 256U);
}

TEST(QueueSizes, ADeviceThatIsTooSmallIsRefused) {
  for (const DeviceLimits limits :
       {with_queues_of(kRdmaRequestsMin - 1, 4096), with_queues_of(1024, 100),
        with_queues_of(1024, 0), with_queues_of(0, 4096)}) {
    const Result<QueueSizes> sizes = queue_sizes(limits);

    ASSERT_FALSE(sizes);
    EXPECT_EQ(sizes.error().code, Errc::kRefused);
  }
}

TEST(ReadDepths, AreTheDevicesUpToOurs) {
  EXPECT_EQ(read_depths(kLarge).served, kRdmaReadsInFlightMax);
  DeviceLimits limits = kLarge;
  limits.reads_served_max = 4;
  limits.reads_asked_max = 8;
  EXPECT_EQ(read_depths(limits).served, 4);
  EXPECT_EQ(read_depths(limits).asked, 8);
}

TEST(ReadDepths, OfAConnectionAreTheLesserOfBothSides) {
  const ReadDepths depths = read_depths(kLarge, {.served = 2, .asked = 5});

  EXPECT_EQ(depths.asked, 2);   // no more than the peer serves
  EXPECT_EQ(depths.served, 5);  // no more than the peer asks
}

}  // namespace
}  // namespace godwit
