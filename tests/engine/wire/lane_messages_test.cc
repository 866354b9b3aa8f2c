// SPDX-License-Identifier: Apache-2.0
#include "engine/wire/lane_messages.h"

#include <gtest/gtest.h>

#include "tests/engine/wire/random_messages.h"

namespace godwit {
namespace {

constexpr size_t kTypes = std::variant_size_v<LaneMessage>;

class EveryLaneMessage : public testing::TestWithParam<size_t> {};

TEST_P(EveryLaneMessage, SurvivesTheRoundTripWithAnyContent) {
  RandomMessages messages(GetParam());
  for (int repeat = 0; repeat < 100; ++repeat) {
    const LaneMessage message = messages.lane_message(GetParam());

    const Result<LaneMessage> decoded = decode_lane_message(encode_lane_message(message));

    ASSERT_TRUE(decoded.has_value()) << to_string(decoded.error());
    ASSERT_TRUE(*decoded == message) << name_of(message);
  }
}

TEST_P(EveryLaneMessage, IsRefusedWhenCutAnywhereOrFollowedByAnything) {
  RandomMessages messages(GetParam() + 100);
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::vector<std::byte> bytes = encode_lane_message(messages.lane_message(GetParam()));
    for (size_t length = 0; length < bytes.size(); ++length)
      ASSERT_FALSE(decode_lane_message(std::span(bytes).first(length)).has_value()) << length;

    bytes.push_back(std::byte{0});
    ASSERT_FALSE(decode_lane_message(bytes).has_value());
  }
}

TEST_P(EveryLaneMessage, NeverBreaksTheDecoderWithAnySingleBitFlipped) {
  RandomMessages messages(GetParam() + 200);
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::vector<std::byte> bytes = encode_lane_message(messages.lane_message(GetParam()));
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      const Result<LaneMessage> message = decode_lane_message(bytes);
      if (message) {
        ASSERT_EQ(encode_lane_message(*message), bytes);
      } else {
        ASSERT_EQ(message.error().code, Errc::kCorrupt);
      }
      bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, EveryLaneMessage, testing::Range<size_t>(0, kTypes),
                         [](const testing::TestParamInfo<size_t>& index) {
                           return name_of(RandomMessages(0).lane_message(index.param));
                         });

TEST(LaneMessages, HaveNoTypeZeroAndRefuseUnknownOnes) {
  for (size_t type = 0; type < 256; ++type) {
    if (type >= 1 && type <= kTypes) continue;
    const std::vector<std::byte> bytes(13, static_cast<std::byte>(type));
    EXPECT_FALSE(decode_lane_message(bytes).has_value()) << type;
  }
}

TEST(LaneMessages, FitTheSmallestMessageOfATransportAtTheirLargest) {
  const ZeroRuns largest{0, PageHistory::kSent, std::vector<PageRun>(kZeroRunsMax, PageRun{1, 1})};

  const std::vector<std::byte> bytes = encode_lane_message(largest);

  EXPECT_LE(bytes.size(), kLaneMessageBytesMax);
  EXPECT_TRUE(decode_lane_message(bytes).has_value());
}

TEST(LaneMessages, AreRefusedAboveTheirSizeLimit) {
  const std::vector<std::byte> bytes(kLaneMessageBytesMax + 1, std::byte{1});
  EXPECT_FALSE(decode_lane_message(bytes).has_value());
}

TEST(LaneMessages, ReuseTheCapacityOfTheirBuffer) {
  std::vector<std::byte> buffer;
  buffer.reserve(kLaneMessageBytesMax);
  const std::byte* const place = buffer.data();

  encode_lane_message(
      ZeroRuns{0, PageHistory::kSent, std::vector<PageRun>(kZeroRunsMax, PageRun{1, 1})}, buffer);
  encode_lane_message(RoundEnd{5}, buffer);

  EXPECT_EQ(buffer.data(), place);
  EXPECT_EQ(buffer, encode_lane_message(RoundEnd{5}));
}

class ZeroRunsOfAGuest : public testing::Test {
 protected:
  std::vector<std::byte> ram_ = std::vector<std::byte>(10 * kBasePageBytes);
  GuestMemory memory_ = {{.name = "ram",
                          .page_size_bytes = kBasePageBytes,
                          .numa_node = -1,
                          .memory = ram_,
                          .fd = -1,
                          .fd_offset_bytes = 0}};
};

TEST_F(ZeroRunsOfAGuest, AreValidInsideTheBlock) {
  EXPECT_TRUE(validate({0, PageHistory::kSent, {{0, 10}, {9, 1}, {3, 2}}}, memory_).has_value());
}

TEST_F(ZeroRunsOfAGuest, AreRefusedOutsideIt) {
  const uint64_t huge = ~uint64_t{0};
  EXPECT_FALSE(validate({1, PageHistory::kSent, {{0, 1}}}, memory_).has_value());
  for (const PageRun run : {PageRun{10, 1}, {9, 2}, {0, 11}, {huge, 2}, {5, huge}, {huge, huge}})
    EXPECT_FALSE(validate({0, PageHistory::kSent, {run}}, memory_).has_value()) << run.first_page;
}

TEST_F(ZeroRunsOfAGuest, CountBasePagesAlsoWhereTheBlockHasHugeOnes) {
  memory_[0].page_size_bytes = 10 * kBasePageBytes;

  EXPECT_TRUE(validate({0, PageHistory::kSent, {{9, 1}}}, memory_).has_value());
  EXPECT_FALSE(validate({0, PageHistory::kSent, {{10, 1}}}, memory_).has_value());
}

}  // namespace
}  // namespace godwit
