// SPDX-License-Identifier: Apache-2.0
//
// The synthetic guest has to be trusted before anything can be judged with it: that it really
// stops, that its memory is what its options say, that it goes on elsewhere where it was, and that
// its device hides from dirty tracking exactly what a real one hides.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "tests/vmm-adapters/synthetic/synthetic_guests.h"

namespace godwit {
namespace {

TEST(SyntheticGuest, HoldsTheMemoryThatItsOptionsAndStepsSay) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    auto guest = open_source(busy_options(seed));
    for (int pause = 0; pause < 3; ++pause) {
      ASSERT_TRUE(guest->pause().has_value());
      ASSERT_NO_FATAL_FAILURE(advance(guest->machine(), 500));
      ASSERT_NO_FATAL_FAILURE(expect_memory_as_computed(guest->machine()));
      ASSERT_TRUE(guest->resume().has_value());
    }
  }
}

TEST(SyntheticGuest, ChangesNothingWhilePaused) {
  auto guest = open_source(busy_options(1));
  ASSERT_TRUE(guest->pause().has_value());
  const MachineState before = guest->machine().state();
  const auto image = copy_image(guest->memory());
  ASSERT_TRUE(image.has_value());

  // A thread that had not stopped would have had all this time.
  for (int repeat = 0; repeat < 20; ++repeat) {
    const auto difference = first_difference(*image, guest->memory());
    ASSERT_TRUE(difference.has_value());
    ASSERT_FALSE(difference->has_value()) << to_string(**difference);
  }
  EXPECT_EQ(guest->machine().state(), before);
  EXPECT_FALSE(guest->machine().running());
}

TEST(SyntheticGuest, ComparisonFindsOneByteAndTakesAHoleForZeroes) {
  SyntheticOptions options;
  options.hole_percent = 100;
  options.virtual_cpus = 0;
  auto source = open_source(options);
  options.stale_percent = 0;
  auto destination = open_destination(options);
  ASSERT_TRUE(source->pause().has_value());
  std::memset(destination->memory()[0].memory.data(), 0, 64 * kBasePageBytes);
  auto difference = first_difference(source->memory(), destination->memory());
  ASSERT_TRUE(difference.has_value());
  EXPECT_FALSE(difference->has_value());

  destination->memory()[0].memory[17 * kBasePageBytes + 4095] = std::byte{1};
  difference = first_difference(source->memory(), destination->memory());

  ASSERT_TRUE(difference.has_value() && difference->has_value());
  EXPECT_EQ((*difference)->page, 17U);
}

TEST(SyntheticGuest, ReportsEveryPageThatItWroteAsDirty) {
  SyntheticOptions options = busy_options(3);
  options.discard_weight = 0;  // a discard is not a write
  auto guest = open_source(options);
  ASSERT_TRUE(guest->dirty_tracker().start().has_value());
  for (int round = 0; round < 10; ++round) {
    ASSERT_TRUE(guest->pause().has_value());
    GuestPageSet dirty = empty_page_set(guest->memory());
    ASSERT_TRUE(guest->dirty_tracker().collect(dirty).has_value());
    const auto before = copy_image(guest->memory());
    ASSERT_TRUE(before.has_value());

    ASSERT_NO_FATAL_FAILURE(advance(guest->machine(), 50));
    clear(dirty);
    ASSERT_TRUE(guest->dirty_tracker().collect(dirty).has_value());

    for (size_t block = 0; block < dirty.size(); ++block) {
      for (uint64_t page = 0; page < dirty[block].page_count(); ++page) {
        const std::byte* const now = &guest->memory()[block].memory[page * kBasePageBytes];
        const bool changed =
            std::memcmp(now, &(*before)[block][page * kBasePageBytes], kBasePageBytes) != 0;
        ASSERT_TRUE(!changed || dirty[block].test(page)) << "page " << page;
      }
    }
    ASSERT_TRUE(guest->resume().has_value());
  }
}

// One round as an engine without quiesced scans does it: scan, copy what is dirty, stop, scan,
// copy. Returns how many pages are wrong in the copy.
uint64_t pages_lost_by_a_live_scan(SyntheticSourceGuest& guest) {
  EXPECT_TRUE(guest.pause().has_value());
  GuestPageSet dirty = empty_page_set(guest.memory());
  EXPECT_TRUE(guest.dirty_tracker().collect(dirty).has_value());
  auto copy = copy_image(guest.memory());
  EXPECT_TRUE(guest.resume().has_value());
  const auto copy_dirty = [&] {
    clear(dirty);
    EXPECT_TRUE(guest.dirty_tracker().collect(dirty).has_value());
    for (size_t block = 0; block < dirty.size(); ++block)
      for (uint64_t page = 0; page < dirty[block].page_count(); ++page)
        if (dirty[block].test(page))
          std::memcpy(&(*copy)[block][page * kBasePageBytes],
                      &guest.memory()[block].memory[page * kBasePageBytes], kBasePageBytes);
  };
  copy_dirty();
  EXPECT_TRUE(guest.pause().has_value());
  copy_dirty();

  uint64_t lost = 0;
  for (size_t block = 0; block < copy->size(); ++block)
    for (size_t at = 0; at < (*copy)[block].size(); at += kBasePageBytes)
      if (std::memcmp(&(*copy)[block][at], &guest.memory()[block].memory[at], kBasePageBytes) != 0)
        ++lost;
  EXPECT_TRUE(guest.resume().has_value());
  return lost;
}

TEST(SyntheticGuest, HidesDmaInFlightFromALiveScan) {
  SyntheticOptions options;
  options.virtual_cpus = 0;
  options.dma_queue_depth = 64;
  auto guest = open_source(options);
  ASSERT_TRUE(guest->dirty_tracker().start().has_value());

  uint64_t lost = 0;
  const Deadline deadline = deadline_in(kPatience);
  while (lost == 0 && Clock::now() < deadline) lost = pages_lost_by_a_live_scan(*guest);

  EXPECT_GT(lost, 0U) << "the device is no test of the quiesced scan";
}

TEST(SyntheticGuest, HidesNothingWithoutADevice) {
  SyntheticOptions options;
  options.discard_weight = 0;
  auto guest = open_source(options);
  ASSERT_TRUE(guest->dirty_tracker().start().has_value());

  // Until the guest has written enough to lose something, which a busy machine lets it do late.
  uint64_t steps = 0;
  const Deadline deadline = deadline_in(kPatience);
  while (steps < 1000 && Clock::now() < deadline) {
    ASSERT_EQ(pages_lost_by_a_live_scan(*guest), 0U);
    ASSERT_TRUE(guest->pause().has_value());
    steps = total_steps(guest->machine().state());
    ASSERT_TRUE(guest->resume().has_value());
  }
  EXPECT_GE(steps, 1000U) << "there was nothing to lose";
}

TEST(SyntheticGuest, GoesOnAtTheDestinationExactlyWhereItWas) {
  SyntheticOptions options = busy_options(5);
  options.extra_state_bytes = 100'000;
  auto source = open_source(options);
  auto destination = open_destination(options);
  ASSERT_TRUE(source->pause().has_value());
  const std::vector<std::byte> state = saved_state(*source);
  copy_memory(source->memory(), destination->memory());
  ASSERT_TRUE(destination->prepare().has_value());

  ASSERT_TRUE(destination->load_state(state, [] {}).has_value());
  ASSERT_TRUE(destination->start().has_value());
  EXPECT_TRUE(destination->machine().running());

  destination->machine().pause();
  ASSERT_NO_FATAL_FAILURE(advance(destination->machine(), 500));
  EXPECT_GT(total_steps(destination->machine().state()), total_steps(source->machine().state()));
  expect_memory_as_computed(destination->machine());
}

TEST(SyntheticGuest, DoesNotLoadItsStateOverMemoryThatIsNotInPlace) {
  const SyntheticOptions options = busy_options(6);
  auto source = open_source(options);
  auto destination = open_destination(options);
  ASSERT_TRUE(source->pause().has_value());
  const std::vector<std::byte> state = saved_state(*source);
  ASSERT_TRUE(destination->prepare().has_value());

  const Status status = destination->load_state(state, [] {});

  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, Errc::kGuest);
  EXPECT_FALSE(destination->start().has_value());
}

TEST(SyntheticGuest, DoesNotLoadAStateWithAnyBitFlippedInItsPadding) {
  SyntheticOptions options;
  options.extra_state_bytes = 1000;
  MachineState state;
  state.actors.resize(1);
  std::vector<std::byte> bytes = encode_machine_state(state, options);
  ASSERT_TRUE(decode_machine_state(bytes, options).has_value());

  bytes.back() ^= std::byte{1};
  EXPECT_FALSE(decode_machine_state(bytes, options).has_value());
  bytes.pop_back();
  EXPECT_FALSE(decode_machine_state(bytes, options).has_value());
}

TEST(SyntheticGuest, RefusesAGuestOfAnotherMachineNamingTheDifference) {
  SyntheticOptions options;
  auto source = open_source(options);
  options.machine = "synthetic-2";
  auto destination = open_destination(options);

  const Status status = destination->check_compatible(source->identity());

  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, Errc::kRefused);
  EXPECT_NE(status.error().text().find("synthetic-2"), std::string_view::npos);
  EXPECT_FALSE(destination->check_compatible({}).has_value());
  EXPECT_TRUE(destination->check_compatible(destination->machine().identity()).has_value());
}

TEST(SyntheticGuest, NeverRunsAgainOnceReleased) {
  auto guest = open_source(SyntheticOptions{});
  EXPECT_FALSE(guest->release().has_value()) << "it runs";
  ASSERT_TRUE(guest->pause().has_value());
  ASSERT_TRUE(guest->release().has_value());

  EXPECT_FALSE(guest->resume().has_value());
  EXPECT_FALSE(guest->machine().running());
}

TEST(SyntheticGuest, FailsTheOperationThatItWasToldToFail) {
  SyntheticOptions options;
  options.failing_operation = SyntheticOperation::kPause;
  options.failing_call = 1;
  auto guest = open_source(options);

  ASSERT_TRUE(guest->pause().has_value());
  ASSERT_TRUE(guest->resume().has_value());
  const Status second = guest->pause();

  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, Errc::kGuest);
  EXPECT_TRUE(guest->machine().running());
  EXPECT_TRUE(guest->pause().has_value());
}

TEST(SyntheticGuest, PausesAndResumesInRapidSuccession) {
  auto guest = open_source(busy_options(9));
  for (int repeat = 0; repeat < 300; ++repeat) {
    ASSERT_TRUE(guest->pause().has_value());
    ASSERT_TRUE(guest->resume().has_value());
  }
}

TEST(SyntheticGuest, LivesInHugePagesAsWell) {
  SyntheticOptions options = busy_options(10);
  options.blocks = {{.name = "low", .size_bytes = kMiB},
                    {.name = "huge", .size_bytes = 8 * kMiB, .page_size_bytes = 2 * kMiB}};
  auto opened = SyntheticSourceGuest::open(options);
  if (!opened) GTEST_SKIP() << to_string(opened.error()) << " (/proc/sys/vm/nr_hugepages)";
  auto guest = std::move(*opened);

  ASSERT_TRUE(guest->dirty_tracker().start().has_value());
  ASSERT_TRUE(guest->pause().has_value());
  ASSERT_NO_FATAL_FAILURE(advance(guest->machine(), 500));

  expect_memory_as_computed(guest->machine());
}

}  // namespace
}  // namespace godwit
