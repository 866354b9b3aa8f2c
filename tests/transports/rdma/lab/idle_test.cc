// SPDX-License-Identifier: Apache-2.0
//
// What a lane costs while nothing happens on it.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>

#include "tests/transports/rdma/lab/lanes.h"

namespace godwit::lab {
namespace {

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds_of = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

TEST(IdleLane, TakesLessThanOnePercentOfACpu) {
  Lane lane({.device = "rxe1"});
  std::array<std::byte, 64> message;
  constexpr seconds kWatched{4};

  const double before = cpu_seconds();
  const auto received = lane.ends.destination->receive(message, deadline_in(kWatched));
  const double used = cpu_seconds() - before;

  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code, Errc::kTimeout);
  RecordProperty("cpu_percent", std::to_string(used * 100 / to_seconds(kWatched)));
  std::cout << "idle: " << used * 100 / to_seconds(kWatched) << " % of a CPU\n";
  EXPECT_LT(used, 0.01 * to_seconds(kWatched));
}

}  // namespace
}  // namespace godwit::lab
