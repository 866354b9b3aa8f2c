// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/transfer_window.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "transports/tcp/region_table.h"

namespace godwit {
namespace {

class TransferTest : public testing::Test {
 protected:
  TransferTest() { transfer_->clear(SourceMemory::kLive); }

  TransferOp op(uint64_t local, uint64_t remote, uint64_t size) const {
    return {region_.get(), local, {0, 1 << 30, 5}, remote, static_cast<uint32_t>(size), 0};
  }
  bool append(const TransferOp& each) { return transfer_->append(each, 1); }

  std::vector<std::byte> memory_ = std::vector<std::byte>(4 << 20);
  std::shared_ptr<RegionTable> table_ = std::make_shared<RegionTable>();
  std::unique_ptr<TcpRegion> region_ =
      TcpRegion::open(table_, memory_, RemoteAccess::kNone).value();
  std::unique_ptr<Transfer> transfer_ = std::make_unique<Transfer>();
};

TEST_F(TransferTest, NeighboursMergeIntoOneSegment) {
  EXPECT_TRUE(append(op(0, 8192, 4096)));
  EXPECT_TRUE(append(op(4096, 12288, 8192)));

  EXPECT_EQ(transfer_->segment_count, 1U);
  EXPECT_EQ(transfer_->segments[0].length_bytes, 12288U);
  EXPECT_EQ(transfer_->operation_count, 2U);
  EXPECT_EQ(transfer_->operations[1].first_block, 1U);
  EXPECT_EQ(transfer_->operations[1].block_count, 2U);
}

TEST_F(TransferTest, WhatIsNoNeighbourOnBothSidesDoesNotMerge) {
  EXPECT_TRUE(append(op(0, 0, 4096)));
  EXPECT_TRUE(append(op(4096, 8192, 4096)));
  EXPECT_TRUE(append(op(12288, 12288, 4096)));

  EXPECT_EQ(transfer_->segment_count, 3U);
}

TEST_F(TransferTest, AnOperationAfterABrokenBlockStartsASegment) {
  EXPECT_TRUE(append(op(0, 0, 100)));
  EXPECT_TRUE(append(op(100, 100, 100)));

  EXPECT_EQ(transfer_->segment_count, 2U);
  EXPECT_EQ(transfer_->operations[1].first_block, 1U);
}

TEST_F(TransferTest, AFrameIsFullAtAMebibyteAndAt256Operations) {
  for (uint64_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(append(op(i * kOperationBytesMax, i * kOperationBytesMax, kOperationBytesMax)));
  }
  EXPECT_FALSE(append(op(0, 0, 1)));

  transfer_->clear(SourceMemory::kLive);
  for (uint64_t i = 0; i < 256; ++i) EXPECT_TRUE(append(op(i, i * 100, 1)));
  EXPECT_FALSE(append(op(0, 0, 1)));
}

TEST(TornPages, AreCutOutOfTheFrameAcrossWords) {
  TornFrame torn{.sequence = 1, .blocks = {}};
  torn.blocks[0] = uint64_t{1} << 63;
  torn.blocks[1] = 0b101;

  EXPECT_EQ(torn_pages_of({.tag = 0, .first_block = 62, .block_count = 4}, torn), 0b0110U);
  EXPECT_EQ(torn_pages_of({.tag = 0, .first_block = 62, .block_count = 64}, torn), 0b10110U);
  EXPECT_EQ(torn_pages_of({.tag = 0, .first_block = 64, .block_count = 1}, torn), 1U);
  EXPECT_EQ(torn_pages_of({.tag = 0, .first_block = 500, .block_count = 12}, torn), 0U);
}

}  // namespace
}  // namespace godwit
