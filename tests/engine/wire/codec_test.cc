// SPDX-License-Identifier: Apache-2.0
#include "engine/wire/codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace godwit {
namespace {

std::vector<std::byte> raw(std::initializer_list<int> values) {
  std::vector<std::byte> result;
  for (int value : values) result.push_back(static_cast<std::byte>(value));
  return result;
}

TEST(Codec, IsLittleEndian) {
  std::vector<std::byte> output;
  Encoder encoder(output);
  encoder.u16(0x0102);
  encoder.u32(0x03040506);
  encoder.u64(0x0708090a0b0c0d0e);

  EXPECT_EQ(output, raw({2, 1, 6, 5, 4, 3, 0xe, 0xd, 0xc, 0xb, 0xa, 9, 8, 7}));
}

TEST(Codec, GivesBackWhatWasPutIn) {
  std::vector<std::byte> output;
  Encoder encoder(output);
  encoder.u8(255);
  encoder.u16(65535);
  encoder.u32(0xffffffff);
  encoder.u64(~uint64_t{0});
  encoder.f64(-0.0);
  encoder.string(std::string("a\0b", 3), 10);
  encoder.bytes(raw({1, 2, 3}));

  Decoder decoder(output, "Test");
  EXPECT_EQ(decoder.u8("a"), 255);
  EXPECT_EQ(decoder.u16("b"), 65535);
  EXPECT_EQ(decoder.u32("c"), 0xffffffff);
  EXPECT_EQ(decoder.u64("d"), ~uint64_t{0});
  EXPECT_TRUE(std::signbit(decoder.f64("e")));
  EXPECT_EQ(decoder.string("f", 3), std::string("a\0b", 3));
  EXPECT_EQ(decoder.bytes("g", 3).size(), 3U);
  EXPECT_TRUE(decoder.finish().has_value());
}

TEST(Codec, CutsATextThatIsTooLongToSend) {
  std::vector<std::byte> output;
  Encoder(output).string("abcdef", 4);

  Decoder decoder(output, "Test");
  EXPECT_EQ(decoder.string("text", 4), "abcd");
}

TEST(Decoder, AnswersZeroesAfterItsFirstErrorAndReportsThatOne) {
  const std::vector<std::byte> input = raw({1, 2});
  Decoder decoder(input, "Test");

  EXPECT_EQ(decoder.u32("first"), 0U);
  EXPECT_EQ(decoder.u8("second"), 0U);
  EXPECT_EQ(decoder.string("third", 10), "");

  const Status status = decoder.finish();
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, Errc::kCorrupt);
  EXPECT_EQ(status.error().text(), "message Test: field first is cut off");
}

TEST(Decoder, RefusesLeftoverBytes) {
  const std::vector<std::byte> input = raw({1, 2});
  Decoder decoder(input, "Test");
  decoder.u8("only");

  const Status status = decoder.finish();
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().text(), "message Test: 1 bytes left over at its end");
}

TEST(Decoder, RefusesAStringLongerThanAllowedOrThanTheInput) {
  std::vector<std::byte> output;
  Encoder(output).string("abcdef", 6);

  Decoder too_long(output, "Test");
  EXPECT_EQ(too_long.string("text", 5), "");
  EXPECT_FALSE(too_long.finish().has_value());

  output.pop_back();
  Decoder cut_off(output, "Test");
  EXPECT_EQ(cut_off.string("text", 6), "");
  EXPECT_FALSE(cut_off.finish().has_value());
}

TEST(Decoder, RefusesACountThatTheInputHasNoBytesFor) {
  std::vector<std::byte> output;
  Encoder encoder(output);
  encoder.u32(3);
  encoder.u64(1);
  encoder.u64(2);

  Decoder decoder(output, "Test");
  EXPECT_EQ(decoder.count("list", 1000, 8), 0U);
  EXPECT_FALSE(decoder.finish().has_value());

  Decoder limited(output, "Test");
  EXPECT_EQ(limited.count("list", 2, 1), 0U);
  EXPECT_FALSE(limited.finish().has_value());
}

}  // namespace
}  // namespace godwit
