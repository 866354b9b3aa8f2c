// SPDX-License-Identifier: Apache-2.0
//
// Synthetic guests under test: opening them, letting them run a little, and judging their memory.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "vmm-adapters/synthetic/expected_image.h"
#include "vmm-adapters/synthetic/synthetic_destination_guest.h"
#include "vmm-adapters/synthetic/synthetic_source_guest.h"

namespace godwit {

constexpr auto kPatience = std::chrono::seconds(10);

inline std::unique_ptr<SyntheticSourceGuest> open_source(const SyntheticOptions& options) {
  auto guest = SyntheticSourceGuest::open(options);
  EXPECT_TRUE(guest.has_value()) << to_string(guest.error());
  return std::move(*guest);
}

inline std::unique_ptr<SyntheticDestinationGuest> open_destination(
    const SyntheticOptions& options) {
  auto guest = SyntheticDestinationGuest::open(options);
  EXPECT_TRUE(guest.has_value()) << to_string(guest.error());
  return std::move(*guest);
}

inline uint64_t total_steps(const MachineState& state) {
  uint64_t steps = 0;
  for (const ActorState& actor : state.actors) steps += actor.steps;
  return steps;
}

// Lets a paused machine take at least so many more steps, and pauses it again.
inline void advance(SyntheticMachine& machine, uint64_t steps) {
  const uint64_t goal = total_steps(machine.state()) + steps;
  const Deadline deadline = deadline_in(kPatience);
  while (total_steps(machine.state()) < goal) {
    ASSERT_LT(Clock::now(), deadline) << "the guest does not run";
    machine.run();
    machine.pause();
  }
}

inline void expect_memory_as_computed(SyntheticMachine& machine) {
  const auto image = expected_image(machine.options(), machine.state());
  ASSERT_TRUE(image.has_value()) << to_string(image.error());
  const auto difference = first_difference(*image, machine.memory().agent());
  ASSERT_TRUE(difference.has_value()) << to_string(difference.error());
  EXPECT_FALSE(difference->has_value()) << to_string(**difference);
}

// What a migration does, without one: copies all memory of a paused machine.
inline void copy_memory(const GuestMemory& source, const GuestMemory& destination) {
  const auto image = copy_image(source);
  ASSERT_TRUE(image.has_value());
  for (size_t block = 0; block < source.size(); ++block)
    std::memcpy(destination[block].memory.data(), (*image)[block].data(), (*image)[block].size());
}

inline std::vector<std::byte> saved_state(SyntheticSourceGuest& guest) {
  std::vector<std::byte> state;
  const Status status = guest.save_state([&state](std::span<const std::byte> piece) -> Status {
    state.insert(state.end(), piece.begin(), piece.end());
    return {};
  });
  EXPECT_TRUE(status.has_value()) << to_string(status.error());
  return state;
}

inline SyntheticOptions busy_options(uint64_t seed) {
  SyntheticOptions options;
  options.seed = seed;
  options.blocks = {{.name = "low", .size_bytes = 512 * kKiB},
                    {.name = "high", .size_bytes = kMiB}};
  options.virtual_cpus = 2;
  options.dma_queue_depth = 16;
  options.discard_weight = 10;
  return options;
}

}  // namespace godwit
