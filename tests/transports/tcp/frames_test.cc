// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/frames.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "transports/tcp/checksum.h"

namespace godwit {
namespace {

using HeaderBytes = std::array<std::byte, kFrameHeaderBytes>;

TEST(Crc32c, MatchesTheKnownAnswer) {
  EXPECT_EQ(crc32c(std::as_bytes(std::span("123456789", 9))), 0xe3069283U);
  EXPECT_EQ(crc32c({}), 0U);
}

TEST(FrameHeader, SurvivesTheWire) {
  const FrameHeader sent{.type = FrameType::kWrite,
                         .flags = kFlagLive | kFlagChecksummed,
                         .segment_count = 3,
                         .body_bytes = 3 * kSegmentBytes + 20,
                         .payload_bytes = 20000,
                         .sequence = 0x1122334455667788,
                         .body_checksum = 0xdeadbeef};
  HeaderBytes bytes;

  encode_header(sent, bytes);
  const FrameHeader received = decode_header(bytes).value();

  EXPECT_EQ(received.type, sent.type);
  EXPECT_EQ(received.flags, sent.flags);
  EXPECT_EQ(received.segment_count, sent.segment_count);
  EXPECT_EQ(received.body_bytes, sent.body_bytes);
  EXPECT_EQ(received.payload_bytes, sent.payload_bytes);
  EXPECT_EQ(received.sequence, sent.sequence);
  EXPECT_EQ(received.body_checksum, sent.body_checksum);
}

TEST(FrameHeader, IsLittleEndianOnTheWire) {
  HeaderBytes bytes;

  encode_header({.type = FrameType::kFlush, .sequence = 0x0102}, bytes);

  EXPECT_EQ(bytes[0], std::byte{'G'});
  EXPECT_EQ(bytes[3], std::byte{'1'});
  EXPECT_EQ(bytes[4], std::byte{8});
  EXPECT_EQ(bytes[16], std::byte{2});
  EXPECT_EQ(bytes[17], std::byte{1});
}

TEST(FrameHeader, EverySingleFlippedBitIsFound) {
  HeaderBytes bytes;
  encode_header({.type = FrameType::kFlush, .sequence = 7}, bytes);

  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    HeaderBytes flipped = bytes;
    flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EXPECT_FALSE(decode_header(flipped)) << bit;
  }
}

TEST(Segments, SurviveTheWireAndCountTheirBlocks) {
  const std::array<Segment, 3> sent{{{1, 0, 4096}, {2, 100, 5000}, {3, uint64_t{1} << 40, 1}}};
  std::vector<std::byte> body(3 * kSegmentBytes);
  encode_segments(sent, body);
  std::array<Segment, kFrameSegmentsMax> received;

  const auto blocks = decode_segments({.type = FrameType::kWrite,
                                       .segment_count = 3,
                                       .body_bytes = 3 * kSegmentBytes,
                                       .payload_bytes = 4096 + 5000 + 1},
                                      body, received);

  EXPECT_EQ(blocks.value(), 4U);
  EXPECT_EQ(received[1].offset_bytes, 100U);
  EXPECT_EQ(received[2].key, 3U);
}

TEST(Ack, SurvivesTheWire) {
  Ack sent{};
  sent.sequence = 99;
  sent.inbox_bytes_consumed = 12;
  sent.torn_count = 2;
  sent.torn[1] = {.sequence = 98, .blocks = {1, 2, 3, 4, 5, 6, 7, 8}};
  std::vector<std::byte> body(kAckBytesMax);
  body.resize(encode_ack(sent, body));
  Ack received{};

  ASSERT_TRUE(decode_ack(body, received));

  EXPECT_EQ(received.sequence, 99U);
  EXPECT_EQ(received.inbox_bytes_consumed, 12U);
  EXPECT_EQ(received.torn_count, 2U);
  EXPECT_EQ(received.torn[1].sequence, 98U);
  EXPECT_EQ(received.torn[1].blocks, sent.torn[1].blocks);
}

TEST(Goodbye, IsCutToItsLimit) {
  std::vector<std::byte> body(1000);

  body.resize(encode_goodbye(Errc::kCorrupt, std::string(900, 'x'), body));

  EXPECT_EQ(std::string_view(decode_goodbye(body).value().text.data()),
            std::string(kGoodbyeTextBytesMax, 'x'));
}

}  // namespace
}  // namespace godwit
