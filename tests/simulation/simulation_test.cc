// SPDX-License-Identifier: Apache-2.0
//
// Whole migrations from seeds: random guests, options and faults, judged by simulated_migration.h.
//
//   simulation_test --seeds=A..B      these seeds (default: 1..2000)
//   simulation_test --seeds=17        one, described before it runs
//   simulation_test --jobs=N          so many at a time
//   simulation_test --post-copy       with post-copy
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/simulation/simulated_migration.h"

namespace godwit {
namespace {

struct Settings {
  uint64_t first_seed = 1;
  uint64_t last_seed = 2000;
  unsigned jobs = 8;  // they mostly wait
  bool post_copy = false;
};
Settings settings;

// Counts what the seeds came to, so that a plan generator which only ever fails early is noticed.
class Tally {
 public:
  void add(const SimulationPlan& plan, const SimulationOutcome& outcome) {
    std::lock_guard lock(mutex_);
    ++ends_[{plan.fault, outcome.source.status}];
    for (const std::string& promise : outcome.broken_promises)
      broken_.push_back(fmt::format("{}\n    {}", describe(plan), promise));
  }
  uint64_t count(MigrationStatus status) const {
    uint64_t total = 0;
    for (const auto& [end, count] : ends_)
      if (end.second == status) total += count;
    return total;
  }
  void print() const {
    for (const auto& [end, count] : ends_)
      fmt::print("{:>30}: status {} x {}\n", to_string(end.first), static_cast<int>(end.second),
                 count);
  }
  const std::vector<std::string>& broken() const { return broken_; }

 private:
  std::mutex mutex_;
  std::map<std::pair<SimulatedFault, MigrationStatus>, uint64_t> ends_;
  std::vector<std::string> broken_;
};

void simulate_seeds(std::atomic<uint64_t>& next, Tally& tally) {
  for (uint64_t seed = next++; seed <= settings.last_seed; seed = next++) {
    const SimulationPlan plan =
        settings.post_copy ? post_copy_plan_from_seed(seed) : plan_from_seed(seed);
    if (settings.first_seed == settings.last_seed) fmt::print("{}\n", describe(plan));
    tally.add(plan, simulate(plan));
  }
}

TEST(Simulation, EverySeedKeepsEveryPromise) {
  std::atomic<uint64_t> next = settings.first_seed;
  Tally tally;
  std::vector<std::jthread> threads;
  for (unsigned job = 0; job < settings.jobs; ++job)
    threads.emplace_back([&] { simulate_seeds(next, tally); });
  threads.clear();

  tally.print();
  for (const std::string& broken : tally.broken()) ADD_FAILURE() << broken;
  if (settings.last_seed - settings.first_seed < 100) return;
  // The seeds have to get somewhere to be worth anything.
  EXPECT_GT(tally.count(MigrationStatus::kCompleted),
            (settings.last_seed - settings.first_seed) / 3);
  EXPECT_GT(tally.count(MigrationStatus::kFailed), 0U);
  if (settings.post_copy) return;
  EXPECT_GT(tally.count(MigrationStatus::kCancelled), 0U);
  EXPECT_GT(tally.count(MigrationStatus::kInDoubt), 0U);
}

bool parse(const char* argument) {
  uint64_t first = 0;
  uint64_t last = 0;
  unsigned jobs = 0;
  if (std::strcmp(argument, "--post-copy") == 0) {
    settings.post_copy = true;
    return true;
  }
  if (std::sscanf(argument, "--jobs=%u", &jobs) == 1 && jobs > 0) {
    settings.jobs = jobs;
    return true;
  }
  switch (std::sscanf(argument, "--seeds=%lu..%lu", &first, &last)) {
    case 1:
      settings.first_seed = settings.last_seed = first;
      return true;
    case 2:
      settings.first_seed = first;
      settings.last_seed = last;
      return first <= last;
    default:
      return false;
  }
}

}  // namespace
}  // namespace godwit

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (godwit::parse(argv[i])) continue;
    std::fprintf(stderr, "unknown: %s (--seeds=A..B, --seeds=A, --jobs=N)\n", argv[i]);
    return 2;
  }
  return RUN_ALL_TESTS();
}
