// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/verification.h"

#include <gtest/gtest.h>

#include <vector>

namespace godwit {
namespace {

class VerificationTest : public testing::Test {
 protected:
  VerificationTest() : bytes_(5 * kMiB), present_(5 * kMiB / kBasePageBytes) {
    block_.page_size_bytes = kBasePageBytes;
    block_.memory = bytes_;
    block_.fd = -1;
    present_.set_all();
  }

  std::vector<uint64_t> hash() const {
    return hash_chunks(block_, present_, 0, verify_chunk_count(block_));
  }

  std::vector<std::byte> bytes_;
  GuestBlock block_{};
  PageBitmap present_;
};

TEST_F(VerificationTest, CoversTheLastPartialChunk) {
  EXPECT_EQ(verify_chunk_count(block_), 3U);
  EXPECT_EQ(hash().size(), 3U);
}

TEST_F(VerificationTest, SeesOneChangedByteInItsChunkOnly) {
  const auto before = hash();
  bytes_[3 * kMiB + 17] = std::byte{1};
  const auto after = hash();

  EXPECT_EQ(before[0], after[0]);
  EXPECT_NE(before[1], after[1]);
  EXPECT_EQ(before[2], after[2]);
}

TEST_F(VerificationTest, TakesHolesForZeroesWithoutReadingThem) {
  const auto zeroes = hash();
  present_.clear_run({100, 600});
  for (uint64_t page = 100; page < 700; ++page) bytes_[page * kBasePageBytes] = std::byte{9};

  EXPECT_EQ(hash(), zeroes);
}

}  // namespace
}  // namespace godwit
