// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/own_page_faults.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <future>
#include <memory>
#include <utility>

#include "engine/base/units.h"
#include "tests/vmm-adapters/linux/test_memory.h"

namespace godwit::test {
namespace {

class OwnPageFaultsTest : public testing::Test {
 protected:
  void SetUp() override {
    memory_.write(3, 1);
    auto opened = OwnPageFaults::open(blocks_);
    ASSERT_TRUE(opened);
    faults_ = std::move(*opened);
    if (const Status armed = faults_->arm(); !armed) GTEST_SKIP() << to_string(armed.error());
  }

  // Returns when the touch of page 3 waits.
  std::future<std::byte> touch() {
    auto touched = std::async(std::launch::async, [this] {
      return *static_cast<volatile std::byte*>(&faults_->view()[3 * kBasePageBytes]);
    });
    pollfd waited{faults_->fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&waited, 1, 10'000), 1);
    return touched;
  }

  TestMemory memory_{kMiB};
  const GuestMemory blocks_ = memory_.memory();
  std::unique_ptr<OwnPageFaults> faults_;
};

TEST_F(OwnPageFaultsTest, TouchWaitsUntilThePageIsInstalled) {
  auto touched = touch();
  std::array<PageFault, 4> read;
  ASSERT_EQ(faults_->read(read).value(), 1U);
  EXPECT_EQ(read[0].page, 3U);
  memory_.write(3, 0x17);
  ASSERT_TRUE(faults_->install(0, {3, 1}));

  EXPECT_EQ(touched.get(), std::byte{0x17});
  EXPECT_TRUE(faults_->disarm());
}

TEST_F(OwnPageFaultsTest, DisarmingLetsEverybodyGoOn) {
  memory_.write(3, 0x17);
  auto touched = touch();

  ASSERT_TRUE(faults_->disarm());

  EXPECT_EQ(touched.get(), std::byte{0x17});
}

}  // namespace
}  // namespace godwit::test
