// SPDX-License-Identifier: Apache-2.0
//
// Pages without storage behind them: an error for who asks, instead of a SIGBUS for who looks.
#include "engine/memory/page_storage.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/unique_fd.h"
#include "engine/base/units.h"

namespace godwit {
namespace {

// A file of half the mapping's size stands for a full tmpfs: there is no page for the other half.
class HalfBacked : public testing::Test {
 protected:
  void SetUp() override {
    file_ = UniqueFd(::memfd_create("half", MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(file_.get(), kBytes / 2), 0);
    void* start = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
    ASSERT_NE(start, MAP_FAILED);
    bytes_ = {static_cast<std::byte*>(start), kBytes};
  }
  void TearDown() override { ::munmap(bytes_.data(), bytes_.size()); }

  static constexpr size_t kBytes = 8 * kBasePageBytes;
  UniqueFd file_;
  std::span<std::byte> bytes_;
};

TEST_F(HalfBacked, HasStorageForTheFirstHalf) {
  ASSERT_TRUE(ensure_storage(bytes_.first(kBytes / 2)));
  EXPECT_EQ(bytes_[kBytes / 2 - 1], std::byte{0});
}

TEST_F(HalfBacked, HasNoneForTheSecond) {
  const Status status = ensure_storage(bytes_);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::kSystem);
  EXPECT_NE(status.error().text().find("no space"), std::string_view::npos);
}

}  // namespace
}  // namespace godwit
