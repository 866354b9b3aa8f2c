// SPDX-License-Identifier: Apache-2.0
//
// The return paths of real migrations, and ones with something wrong.
#include "vmm-adapters/qemu/stream/return_path.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/vmm-adapters/qemu/stream/recorded.h"
#include "tests/vmm-adapters/qemu/stream/walk.h"

namespace godwit::qemu::stream {
namespace {

class RecordedReturnPath : public testing::TestWithParam<std::string> {};

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char letter) { return letter == '-' || letter == '.'; }, '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Qemu, RecordedReturnPath, testing::ValuesIn(recorded_names("return")),
                         test_name);

// Encodes what was read; a bitmap is put together first.
struct Reencoder {
  std::vector<std::byte> output;
  std::vector<std::byte> bitmap;

  void operator()(const ReturnEvent& event) {
    if (const auto* message = std::get_if<ReturnMessage>(&event.what)) {
      encode_return_message(*message, output);
    }
    if (std::holds_alternative<BitmapBytes>(event.what)) append(bitmap, event.bytes);
    if (std::holds_alternative<BitmapEnd>(event.what)) {
      encode_received_bitmap(bitmap, output);
      bitmap.clear();
    }
  }
};

TEST_P(RecordedReturnPath, EncodesToTheSameBytesWhereverItIsCut) {
  const std::vector<std::byte> stream = read_recorded(GetParam());

  for (const size_t piece_bytes : {1UL, 3UL, 5UL, 17UL, 1000UL}) {
    ReturnPathParser parser;
    Reencoder reencode;
    std::vector<std::byte> copied;
    walk<ReturnEvent>(parser, stream, pieces_of(piece_bytes), [&](const ReturnEvent& event) {
      EXPECT_EQ(event.offset_bytes, copied.size());
      append(copied, event.bytes);
      reencode(event);
    });

    EXPECT_EQ(copied, stream);
    EXPECT_EQ(reencode.output, stream);
    EXPECT_FALSE(parser.reason()) << parser.reason()->text();
  }
}

std::map<ReturnMessageType, int> count(std::string_view name) {
  const std::vector<std::byte> stream = read_recorded(name);
  ReturnPathParser parser;
  std::map<ReturnMessageType, int> counts;
  walk<ReturnEvent>(parser, stream, pieces_of(64), [&](const ReturnEvent& event) {
    const auto* message = std::get_if<ReturnMessage>(&event.what);
    if (message != nullptr) ++counts[message->type];
  });
  return counts;
}

TEST(RecordedReturnPathContent, HasWhatPostCopySends) {
  for (const char* name : {"post-copy-7.2.return", "post-copy-10.0.return"}) {
    std::map<ReturnMessageType, int> counts = count(name);

    EXPECT_EQ(counts[ReturnMessageType::kPong], 4) << name;
    EXPECT_EQ(counts[ReturnMessageType::kRequestPagesOfBlock], 1) << name;
    EXPECT_GT(counts[ReturnMessageType::kRequestPages], 0) << name;
    EXPECT_EQ(counts[ReturnMessageType::kShut], 1) << name;
  }
}

TEST(RecordedReturnPathContent, HasBitmapsAfterARecovery) {
  for (const char* name : {"recovery-7.2.recovery-return", "recovery-10.0.recovery-return"}) {
    std::map<ReturnMessageType, int> counts = count(name);

    EXPECT_GT(counts[ReturnMessageType::kReceivedBitmap], 0) << name;
    EXPECT_EQ(counts[ReturnMessageType::kResumeAck], 1) << name;
  }
}

TEST(ReturnPath, SaysWhichPageIsAskedFor) {
  std::vector<std::byte> stream;
  encode_return_message({.type = ReturnMessageType::kRequestPagesOfBlock,
                         .block = "ram0",
                         .offset_bytes = 0x12345000,
                         .size_bytes = 4096},
                        stream);
  ReturnPathParser parser;
  ReturnEvent event;

  parser.feed(stream);
  ASSERT_TRUE(parser.next(event));

  const auto& message = std::get<ReturnMessage>(event.what);
  EXPECT_EQ(message.block, "ram0");
  EXPECT_EQ(message.offset_bytes, 0x12345000U);
  EXPECT_EQ(message.size_bytes, 4096U);
}

// That all of these bytes are passed on as they are.
void expect_not_understood(const std::vector<std::byte>& bytes, std::string_view text) {
  ReturnPathParser parser;
  std::vector<std::byte> rest;
  walk<ReturnEvent>(parser, bytes, pieces_of(1), [&](const ReturnEvent& event) {
    EXPECT_TRUE(std::holds_alternative<ReturnPathRest>(event.what));
    append(rest, event.bytes);
  });
  EXPECT_EQ(rest, bytes);
  ASSERT_TRUE(parser.reason());
  EXPECT_NE(parser.reason()->text().find(text), std::string_view::npos) << parser.reason()->text();
}

std::vector<std::byte> message_of(uint16_t type, uint16_t size_bytes, std::string_view body) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.be16(type);
  writer.be16(size_bytes);
  writer.text(body);
  return bytes;
}

TEST(ReturnPath, PassesOnWhatItDoesNotKnow) {
  expect_not_understood(message_of(0, 0, ""), "message 0");
  expect_not_understood(message_of(8, 4, "more"), "message 8");
  expect_not_understood(message_of(2, 5, "12345"), "of 5 bytes");
  expect_not_understood(message_of(3, 60000, "1"), "of 60000 bytes");
  expect_not_understood(message_of(5, 3, "\x05z1"), "a body that message 5 cannot have");
  expect_not_understood(message_of(2, 4, "123"), "ends within a message");
}

TEST(ReturnPath, PassesOnWhatFollowsABitmapWithoutItsEnd) {
  std::vector<std::byte> bytes;
  encode_return_message({.type = ReturnMessageType::kReceivedBitmap, .block = "ram0"}, bytes);
  encode_received_bitmap(std::vector<std::byte>(16), bytes);
  bytes.back() = std::byte{0};
  ReturnPathParser parser;
  std::vector<std::byte> copied;

  walk<ReturnEvent>(parser, bytes, pieces_of(3),
                    [&](const ReturnEvent& event) { append(copied, event.bytes); });

  EXPECT_EQ(copied, bytes);
  EXPECT_TRUE(parser.reason());
}

}  // namespace
}  // namespace godwit::qemu::stream
