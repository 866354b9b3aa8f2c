// SPDX-License-Identifier: Apache-2.0
#include "engine/postcopy/fetch_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

namespace godwit::postcopy {
namespace {

constexpr uint64_t kClaim = 256 * kKiB;

// A link of one speed and one latency, whose queue holds what is sent faster.
struct Link {
  double bytes_per_s;
  Clock::duration latency;
};

struct Steady {
  double of_link;          // the rate reached
  Clock::duration queued;  // how long the last claim lay in the queue
};

// Keeps as much on its way as the window says, for ten seconds; what was reached in the last one.
Steady run(const Link& link) {
  struct Claim {
    Clock::time_point asked;
    Clock::time_point arrives;
  };
  const auto claim_time =
      duration_cast<Clock::duration>(std::chrono::duration<double>(kClaim / link.bytes_per_s));
  Clock::time_point now{};
  FetchWindow window(now);
  std::deque<Claim> on_its_way;
  Clock::time_point link_free = now;
  uint64_t arrived = 0;
  Steady steady{};
  while (now < Clock::time_point{} + seconds(10)) {
    while (on_its_way.empty() || on_its_way.size() * kClaim < window.bytes()) {
      link_free = std::max(link_free, now) + claim_time;
      on_its_way.push_back({now, link_free + link.latency});
    }
    const Claim claim = on_its_way.front();
    on_its_way.pop_front();
    now = claim.arrives;
    window.note_arrival(kClaim, now - claim.asked, now);
    if (now > Clock::time_point{} + seconds(9)) arrived += kClaim;
    steady.queued = now - claim.asked - link.latency - claim_time;
  }
  steady.of_link = static_cast<double>(arrived) / link.bytes_per_s;
  return steady;
}

TEST(FetchWindow, KeepsALinkBusyWithoutFillingItsQueue) {
  for (const double gbit_per_s : {2.0, 10.0, 25.0}) {
    for (const Clock::duration latency :
         {Clock::duration(microseconds(20)), Clock::duration(milliseconds(1)),
          Clock::duration(milliseconds(5))}) {
      const Steady steady = run({gbit_per_s * 1e9 / 8, latency});
      EXPECT_GT(steady.of_link, 0.95) << gbit_per_s << " Gbit/s, " << to_seconds(latency) << " s";
      EXPECT_LT(steady.queued, milliseconds(4))
          << gbit_per_s << " Gbit/s, " << to_seconds(latency) << " s";
    }
  }
}

TEST(FetchWindow, HasTheLeastOnASlowLink) {
  FetchWindow window(Clock::time_point{});
  Clock::time_point now{};
  for (int i = 0; i < 100; ++i)
    window.note_arrival(kClaim, milliseconds(2), now += milliseconds(20));
  EXPECT_EQ(window.bytes(), FetchWindow::kBytesMin);
}

}  // namespace
}  // namespace godwit::postcopy
