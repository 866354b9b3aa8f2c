// SPDX-License-Identifier: Apache-2.0
//
// Frames that no peer of ours would send, against a real endpoint: each ends the connection with a
// clear error, and no memory is touched but what the peer was allowed to write.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "tests/transports/tcp/raw_peer.h"
#include "transports/tcp/inbox.h"

namespace godwit::tcp_test {
namespace {

constexpr auto kPage = static_cast<uint32_t>(kBasePageBytes);

FrameHeader header_of(FrameType type, uint64_t sequence, size_t body_bytes) {
  return {.type = type,
          .flags = 0,
          .segment_count = 0,
          .body_bytes = static_cast<uint32_t>(body_bytes),
          .payload_bytes = 0,
          .sequence = sequence,
          .body_checksum = 0};
}

Bytes page_of(int value) {
  return Bytes(kPage, static_cast<std::byte>(value));
}

Bytes write_of_a_page(uint64_t key, uint64_t offset, uint64_t sequence = 1) {
  const Segment segment{key, offset, kPage};
  return make_write(sequence, {&segment, 1}, page_of(1));
}

Bytes ack_of(uint64_t sequence, uint64_t consumed, uint32_t torn_count) {
  Ack ack{};
  ack.sequence = sequence;
  ack.inbox_bytes_consumed = consumed;
  ack.torn_count = torn_count;
  Bytes body(kAckBytesMax);
  body.resize(encode_ack(ack, body));
  return make_frame(header_of(FrameType::kAck, 1, body.size()), body);
}

Bytes request_of(uint64_t key, uint64_t offset, uint32_t length, uint64_t sequence = 1) {
  const Segment segment{key, offset, length};
  Bytes body(kSegmentBytes);
  encode_segments({&segment, 1}, body);
  FrameHeader header = header_of(FrameType::kReadRequest, sequence, body.size());
  header.segment_count = 1;
  return make_frame(header, body);
}

struct BadFrame {
  std::string name;
  std::function<Bytes(const Attack&)> make;
  std::string why;  // part of the victim's error

  friend void PrintTo(const BadFrame& frame, std::ostream* out) { *out << frame.name; }
};

std::vector<BadFrame> bad_frames() {
  return {
      {"Zeroes", [](auto&) { return Bytes(kFrameHeaderBytes); }, "magic"},
      {"UnknownType", [](auto&) { return make_frame(header_of(static_cast<FrameType>(77), 1, 0)); },
       "unknown type 77"},
      {"TypeZero", [](auto&) { return make_frame(header_of(static_cast<FrameType>(0), 1, 0)); },
       "unknown type 0"},
      {"HeaderChecksum",
       [](auto&) {
         Bytes frame = make_frame(header_of(FrameType::kFlush, 1, 0));
         frame[30] ^= std::byte{1};
         return frame;
       },
       "checksum"},
      {"BodyChecksum",
       [](auto&) {
         Bytes frame = make_frame(header_of(FrameType::kMessage, 1, 5), Bytes(5));
         frame.back() ^= std::byte{1};
         return frame;
       },
       "checksum"},
      {"SecondGreeting",
       [](auto&) {
         return make_frame(header_of(FrameType::kHello, 1, kHelloBodyBytes),
                           Bytes(kHelloBodyBytes));
       },
       "greeting"},
      {"SecondWelcome", [](auto&) { return make_frame(header_of(FrameType::kWelcome, 1, 0)); },
       "greeting"},
      {"MessageTooLong",
       [](auto&) { return make_frame(header_of(FrameType::kMessage, 1, 1 << 30)); }, "body of"},
      {"FlushWithBody",
       [](auto&) { return make_frame(header_of(FrameType::kFlush, 1, 4), Bytes(4)); }, "body of"},
      {"PayloadWhereNoneBelongs",
       [](auto&) {
         FrameHeader header = header_of(FrameType::kFlush, 1, 0);
         header.payload_bytes = 4096;
         return make_frame(header);
       },
       "payload of"},
      {"UnknownFlags",
       [](auto&) {
         FrameHeader header = header_of(FrameType::kFlush, 1, 0);
         header.flags = 0x80;
         return make_frame(header);
       },
       "flags"},
      {"SequenceSkipped", [](auto&) { return make_frame(header_of(FrameType::kFlush, 2, 0)); },
       "frame 1 was due"},
      {"SequenceZero", [](auto&) { return make_frame(header_of(FrameType::kFlush, 0, 0)); },
       "frame 1 was due"},
      {"WriteToUnknownRegion", [](auto&) { return write_of_a_page(12345, 0); }, "unknown region"},
      {"WriteToReadableRegion",
       [](auto& attack) { return write_of_a_page(attack.readable_key(), 0); }, "does not allow"},
      {"WriteToLocalRegion", [](auto& attack) { return write_of_a_page(attack.local_key(), 0); },
       "does not allow"},
      {"WriteJustOutside",
       [](auto& attack) {
         return write_of_a_page(attack.writable_key(), GuardedMemory::kRegionBytes - kPage + 1);
       },
       "outside"},
      {"WriteFarOutside",
       [](auto& attack) { return write_of_a_page(attack.writable_key(), uint64_t{1} << 40); },
       "outside"},
      {"WriteThatWrapsAround",
       [](auto& attack) { return write_of_a_page(attack.writable_key(), UINT64_MAX - 100); },
       "cannot be"},
      {"SecondSegmentOutside",
       [](auto& attack) {
         const std::array<Segment, 2> segments{
             {{attack.writable_key(), 0, kPage}, {attack.readable_key(), 0, kPage}}};
         return make_write(1, segments, Bytes(2 * kPage));
       },
       "segment 1"},
      {"EmptySegment",
       [](auto& attack) {
         const std::array<Segment, 2> segments{
             {{attack.writable_key(), 0, kPage}, {attack.writable_key(), 0, 0}}};
         return make_write(1, segments, page_of(1));
       },
       "cannot be"},
      {"SegmentsLongerThanPayload",
       [](auto& attack) {
         const Segment segment{attack.writable_key(), 0, 2 * kPage};
         return make_write(1, {&segment, 1}, page_of(1));
       },
       "add up"},
      {"ChecksumsMissing",
       [](auto& attack) {
         const Segment segment{attack.writable_key(), 0, kPage};
         Bytes frame = make_write(1, {&segment, 1}, page_of(1), 0);
         Bytes body(frame.begin() + kFrameHeaderBytes,
                    frame.begin() + kFrameHeaderBytes + kSegmentBytes);
         FrameHeader header = header_of(FrameType::kWrite, 1, body.size());
         header.flags = kFlagChecksummed;
         header.segment_count = 1;
         header.payload_bytes = kPage;
         return make_frame(header, body);
       },
       "body of"},
      {"ReadOfWritableRegion",
       [](auto& attack) { return request_of(attack.writable_key(), 0, kPage); }, "does not allow"},
      {"ReadOutside",
       [](auto& attack) {
         return request_of(attack.readable_key(), GuardedMemory::kRegionBytes, 1);
       },
       "outside"},
      {"ReadTooLong",
       [](auto& attack) { return request_of(attack.readable_key(), 0, 2 * kFramePayloadBytesMax); },
       "cannot be"},
      {"AnswerToNoRead",
       [](auto&) {
         FrameHeader header = header_of(FrameType::kReadResponse, 1, 8);
         header.payload_bytes = kPage;
         return make_frame(header, Bytes(8), page_of(1));
       },
       "not asked for"},
      {"AckOfWhatWasNotSent", [](auto&) { return ack_of(5, 0, 0); }, "an ack for frame 5"},
      {"AckOfMessagesNotSent", [](auto&) { return ack_of(0, 100, 0); }, "messages consumed"},
      {"AckOfTornFramesNotSent", [](auto&) { return ack_of(0, 0, 3); }, "torn"},
      {"AckWithWrongLength",
       [](auto&) { return make_frame(header_of(FrameType::kAck, 1, 30), Bytes(30)); }, "an ack of"},
      {"GoodbyeWithUnknownCode",
       [](auto&) { return make_frame(header_of(FrameType::kGoodbye, 1, 4), Bytes(4)); },
       "unknown code"},
  };
}

class HostileFrame : public testing::TestWithParam<BadFrame> {};

TEST_P(HostileFrame, EndsTheConnectionAndTouchesNothing) {
  Attack attack;

  attack.peer().send(GetParam().make(attack));
  const Error error = attack.end();

  EXPECT_EQ(error.code, Errc::kCorrupt) << to_string(error);
  EXPECT_NE(error.text().find(GetParam().why), std::string_view::npos) << error.text();
  EXPECT_TRUE(attack.memory().others_untouched());
  EXPECT_TRUE(attack.memory().writable_untouched());
}

TEST_P(HostileFrame, IsAnsweredWithAGoodbyeThatSaysWhy) {
  Attack attack;

  attack.peer().send(GetParam().make(attack));
  attack.peer().close_for_sending();
  const Bytes answer = attack.peer().receive_to_the_end();

  const std::string text(reinterpret_cast<const char*>(answer.data()), answer.size());
  EXPECT_NE(text.find(GetParam().why), std::string::npos) << text;
}

INSTANTIATE_TEST_SUITE_P(All, HostileFrame, testing::ValuesIn(bad_frames()),
                         [](const auto& frame) { return frame.param.name; });

TEST(HostilePeer, AWriteThatIsAllowedArrives) {
  Attack attack;

  attack.peer().send(write_of_a_page(attack.writable_key(), kPage));
  attack.peer().close_for_sending();
  const Error error = attack.end();

  EXPECT_EQ(error.code, Errc::kPeerLost) << to_string(error);
  EXPECT_TRUE(std::ranges::equal(attack.memory().writable().subspan(kPage, kPage), page_of(1)));
  EXPECT_TRUE(attack.memory().others_untouched());
}

TEST(HostilePeer, ADuplicatedFrameIsRefused) {
  Attack attack;
  const Bytes frame = write_of_a_page(attack.writable_key(), 0);

  attack.peer().send(frame);
  attack.peer().send(frame);

  EXPECT_EQ(attack.end().code, Errc::kCorrupt);
}

TEST(HostilePeer, FramesInTheWrongOrderAreRefused) {
  Attack attack;

  attack.peer().send(write_of_a_page(attack.writable_key(), 0, 2));
  attack.peer().send(write_of_a_page(attack.writable_key(), 0, 1));

  EXPECT_EQ(attack.end().code, Errc::kCorrupt);
  EXPECT_TRUE(attack.memory().writable_untouched());
}

TEST(HostilePeer, AFrameCutShortAnywhereEndsCleanly) {
  for (size_t length : {0, 1, 31, 32, 33, 40, 59, 60, 61, 100, 2000, 4155}) {
    Attack attack;

    const Bytes frame = write_of_a_page(attack.writable_key(), 0);
    ASSERT_LT(length, frame.size());
    attack.peer().send(std::span(frame).first(length));
    attack.peer().close();

    EXPECT_EQ(attack.end().code, Errc::kPeerLost) << length;
    EXPECT_TRUE(attack.memory().others_untouched());
  }
}

TEST(HostilePeer, EveryFlippedBitOfHeaderAndTablesIsFound) {
  for (size_t bit = 0; bit < (kFrameHeaderBytes + kSegmentBytes + 4) * 8; bit += 7) {
    Attack attack;
    Bytes frame = write_of_a_page(attack.writable_key(), 0);
    frame[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));

    attack.peer().send(frame);
    attack.peer().close_for_sending();

    EXPECT_EQ(attack.end().code, Errc::kCorrupt) << bit;
    EXPECT_TRUE(attack.memory().writable_untouched());
    EXPECT_TRUE(attack.memory().others_untouched());
  }
}

TEST(HostilePeer, AFlippedBitOfAFrozenPayloadIsFound) {
  Attack attack;
  Bytes frame = write_of_a_page(attack.writable_key(), 2 * kPage);
  frame.back() ^= std::byte{4};

  attack.peer().send(frame);
  const Error error = attack.end();

  EXPECT_EQ(error.code, Errc::kCorrupt);
  EXPECT_NE(error.text().find("offset 0x2000"), std::string_view::npos) << error.text();
}

TEST(HostilePeer, RandomBytesEndTheConnection) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    Attack attack;
    std::mt19937 random(seed);
    Bytes bytes(1 + random() % 5000);
    std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random()); });

    attack.peer().send(bytes);
    attack.peer().close();
    const Error error = attack.end();

    EXPECT_TRUE(error.code == Errc::kCorrupt || error.code == Errc::kPeerLost) << to_string(error);
    EXPECT_TRUE(attack.memory().writable_untouched());
    EXPECT_TRUE(attack.memory().others_untouched());
  }
}

// Header fields at random, with checksums that are right: nothing but the meaning can be refused.
TEST(HostilePeer, RandomHeadersWithRightChecksumsNeverReachOtherMemory) {
  for (unsigned seed = 0; seed < 150; ++seed) {
    Attack attack;
    std::mt19937_64 random(seed);
    const std::array<uint64_t, 4> keys{attack.writable_key(), attack.readable_key(),
                                       attack.local_key(), 1};
    for (uint64_t sequence = 1; sequence < 8; ++sequence) {
      std::vector<Segment> segments(1 + random() % 4);
      for (Segment& segment : segments) {
        segment = {keys[random() % 8 < 6 ? 0 : random() % 4],
                   random() % (GuardedMemory::kRegionBytes),
                   static_cast<uint32_t>(1 + random() % (3 * kBasePageBytes))};
      }
      Bytes body(kFrameBodyBytesMax);
      body.resize(encode_segments(segments, body) + random() % 2 * 8);
      uint64_t payload_bytes = random() % 3;
      for (const Segment& segment : segments) payload_bytes += segment.length_bytes;
      const Bytes payload(payload_bytes, std::byte{9});
      const FrameHeader header{
          .type = static_cast<FrameType>(random() % 4 == 0 ? 1 + random() % 9 : 3),
          .flags = static_cast<uint8_t>(random() % 4),
          .segment_count = static_cast<uint16_t>(segments.size() + random() % 5 / 4),
          .body_bytes = static_cast<uint32_t>(body.size()),
          .payload_bytes = static_cast<uint32_t>(payload.size()),
          .sequence = sequence,
          .body_checksum = 0};
      if (!attack.peer().send(make_frame(header, body, payload))) break;
    }
    attack.peer().close();
    const Error error = attack.end();

    EXPECT_TRUE(error.code == Errc::kCorrupt || error.code == Errc::kPeerLost) << to_string(error);
    EXPECT_TRUE(attack.memory().others_untouched()) << seed;
  }
}

TEST(HostilePeer, MoreMessagesThanTheInboxHoldsEndTheConnection) {
  Attack attack(Owner::kPolls);
  const Bytes body(kFrameMessageBytesMax);

  uint64_t sequence = 0;
  for (uint64_t sent = 0; sent <= kInboxBytes; sent += body.size()) {
    const FrameHeader header = header_of(FrameType::kMessage, ++sequence, body.size());
    if (!attack.peer().send(make_frame(header, body))) break;
  }

  const Error error = attack.end();
  EXPECT_EQ(error.code, Errc::kCorrupt);
  EXPECT_NE(error.text().find("inbox"), std::string_view::npos) << error.text();
}

TEST(HostilePeer, ReadsWithoutTakingTheAnswersEndTheConnection) {
  Attack attack;

  for (uint64_t sequence = 1; sequence < 2000; ++sequence) {
    const Bytes frame = request_of(attack.readable_key(), 0, 64 * kPage, sequence);
    if (!attack.peer().send(frame)) break;
  }

  const Error error = attack.end();
  EXPECT_TRUE(error.code == Errc::kCorrupt || error.code == Errc::kPeerLost) << to_string(error);
  EXPECT_TRUE(attack.memory().others_untouched());
}

TEST(HostilePeer, AGoodbyeIsShownWithoutControlCharacters) {
  Attack attack;
  Bytes body(4 + 20);
  body.resize(encode_goodbye(Errc::kCorrupt, "\x1b[31mred\n", body));

  attack.peer().send(make_frame(header_of(FrameType::kGoodbye, 1, body.size()), body));
  const Error error = attack.end();

  EXPECT_NE(error.text().find("?[31mred?"), std::string_view::npos) << error.text();
}

}  // namespace
}  // namespace godwit::tcp_test
