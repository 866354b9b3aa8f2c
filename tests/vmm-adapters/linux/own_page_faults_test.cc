// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/own_page_faults.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <future>

#include "engine/base/units.h"
#include "tests/vmm-adapters/linux/test_memory.h"

namespace godwit::test {
namespace {

TEST(OwnPageFaults, TouchWaitsUntilThePageIsInstalled) {
  TestMemory memory(kMiB);
  memory.write(3, 1);
  const GuestMemory blocks = memory.memory();
  auto opened = OwnPageFaults::open(blocks);
  ASSERT_TRUE(opened);
  OwnPageFaults& faults = **opened;
  if (const Status armed = faults.arm(); !armed) GTEST_SKIP() << to_string(armed.error());

  auto touched = std::async(std::launch::async, [&] {
    return *static_cast<volatile std::byte*>(&faults.view()[3 * kBasePageBytes]);
  });
  pollfd waited{faults.fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&waited, 1, 10'000), 1);
  std::array<PageFault, 4> read;
  ASSERT_EQ(faults.read(read).value(), 1U);
  EXPECT_EQ(read[0].page, 3U);
  memory.write(3, 0x17);
  ASSERT_TRUE(faults.install(0, {3, 1}));

  EXPECT_EQ(touched.get(), std::byte{0x17});
  EXPECT_TRUE(faults.disarm());
}

TEST(OwnPageFaults, DisarmingLetsEverybodyGoOn) {
  TestMemory memory(kMiB);
  memory.write(3, 0x17);
  const GuestMemory blocks = memory.memory();
  auto opened = OwnPageFaults::open(blocks);
  ASSERT_TRUE(opened);
  OwnPageFaults& faults = **opened;
  if (const Status armed = faults.arm(); !armed) GTEST_SKIP() << to_string(armed.error());
  auto touched = std::async(std::launch::async, [&] {
    return *static_cast<volatile std::byte*>(&faults.view()[3 * kBasePageBytes]);
  });
  pollfd waited{faults.fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&waited, 1, 10'000), 1);

  ASSERT_TRUE(faults.disarm());

  EXPECT_EQ(touched.get(), std::byte{0x17});
}

}  // namespace
}  // namespace godwit::test
