// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/post_copy_link.h"

#include <gtest/gtest.h>

#include "engine/base/units.h"

namespace godwit {
namespace {

TEST(FetchView, RateIsThatSinceTheFirstLook) {
  FetchView view;
  const Clock::time_point start{};

  const Progress first = view.show({.fetched_bytes = 10 * kGiB}, start);
  const Progress second = view.show({.fetched_bytes = 10 * kGiB + 6 * kMiB}, start + seconds(2));

  EXPECT_EQ(first.throughput_bytes_per_s, 0);
  EXPECT_EQ(second.throughput_bytes_per_s, 3.0 * kMiB);
  EXPECT_EQ(second.bytes_sent, 10 * kGiB + 6 * kMiB);
}

TEST(FetchView, RateBeginsAnewWithAnAgentThatTookOver) {
  FetchView view;
  const Clock::time_point start{};
  view.show({.fetched_bytes = 0}, start);
  view.show({.fetched_bytes = 800 * kMiB}, start + seconds(10));

  view.show({.fetched_bytes = 1 * kMiB}, start + seconds(100));
  const Progress progress = view.show({.fetched_bytes = 21 * kMiB}, start + seconds(102));

  EXPECT_EQ(progress.throughput_bytes_per_s, 10.0 * kMiB);
}

}  // namespace
}  // namespace godwit
