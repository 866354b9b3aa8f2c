// SPDX-License-Identifier: Apache-2.0
//
// Every control message: what goes in comes out, and whatever a peer does to the bytes is either a
// message that encodes to those very bytes, or an error that says what is wrong.
#include "engine/wire/messages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "engine/wire/codec.h"
#include "tests/engine/wire/random_messages.h"

namespace godwit {
namespace {

constexpr size_t kTypes = std::variant_size_v<ControlMessage>;

void expect_decodes_to_itself_or_fails(std::span<const std::byte> bytes) {
  const Result<ControlMessage> message = decode(bytes);
  if (!message) {
    ASSERT_EQ(message.error().code, Errc::kCorrupt);
    ASSERT_FALSE(message.error().text().empty());
    return;
  }
  const std::vector<std::byte> again = encode(*message);
  ASSERT_TRUE(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
}

class EveryControlMessage : public testing::TestWithParam<size_t> {};

TEST_P(EveryControlMessage, SurvivesTheRoundTripWithAnyContent) {
  RandomMessages messages(GetParam());
  for (int repeat = 0; repeat < 100; ++repeat) {
    const ControlMessage message = messages.control_message(GetParam());

    const Result<ControlMessage> decoded = decode(encode(message));

    ASSERT_TRUE(decoded.has_value()) << to_string(decoded.error());
    ASSERT_EQ(decoded->index(), GetParam());
    ASSERT_TRUE(*decoded == message) << name_of(message);
  }
}

TEST_P(EveryControlMessage, IsRefusedWhenCutAnywhereOrFollowedByAnything) {
  RandomMessages messages(GetParam() + 100);
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::vector<std::byte> bytes = encode(messages.control_message(GetParam()));
    for (size_t length = 0; length < bytes.size(); ++length)
      ASSERT_FALSE(decode(std::span(bytes).first(length)).has_value()) << length;

    bytes.push_back(std::byte{0});
    ASSERT_FALSE(decode(bytes).has_value());
  }
}

TEST_P(EveryControlMessage, NeverBreaksTheDecoderWithAnySingleBitFlipped) {
  RandomMessages messages(GetParam() + 200);
  for (int repeat = 0; repeat < 10; ++repeat) {
    std::vector<std::byte> bytes = encode(messages.control_message(GetParam()));
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      ASSERT_NO_FATAL_FAILURE(expect_decodes_to_itself_or_fails(bytes)) << "bit " << bit;
      bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, EveryControlMessage, testing::Range<size_t>(0, kTypes),
                         [](const testing::TestParamInfo<size_t>& index) {
                           return name_of(RandomMessages(0).control_message(index.param));
                         });

TEST(ControlMessages, HaveNoTypeZeroAndRefuseUnknownOnes) {
  for (size_t type = 0; type < 256; ++type) {
    if (type >= 1 && type <= kTypes) continue;
    std::vector<std::byte> bytes(64);
    bytes[0] = static_cast<std::byte>(type);

    const Result<ControlMessage> message = decode(bytes);

    ASSERT_FALSE(message.has_value());
    EXPECT_EQ(message.error().code, Errc::kCorrupt);
  }
}

TEST(ControlMessages, NameTheMessageAndTheFieldThatIsWrong) {
  Offer offer{.rails = {{"mlx5_0", "rdma", -2}}};

  const Result<ControlMessage> message = decode(encode(offer));

  ASSERT_FALSE(message.has_value());
  EXPECT_EQ(message.error().text(), "message Offer: field rails.numa_node is not a node");
}

// Each of these keeps the encoding's form and breaks one rule of its content.
TEST(ControlMessages, AreRefusedWhenTheirContentCannotBeTrue) {
  const std::string session(16, 'a');
  Offer odd_page, odd_size, no_size, odd_node, no_rails;
  odd_page.blocks = {{"ram", 4 * kKiB, 4097, -1}};
  odd_size.blocks = {{"ram", 3 * kMiB, 2 * kMiB, -1}};
  no_size.blocks = {{"ram", 0, 4 * kKiB, -1}};
  odd_node.blocks = {{"ram", 4 * kKiB, 4 * kKiB, -2}};
  for (Offer* offer : {&odd_page, &odd_size, &no_size, &odd_node})
    offer->rails = {{"tcp", "tcp", -1}};
  const std::vector<ControlMessage> impossible = {
      Hello{1, "godwit", "short", Role::kSource},
      Hello{1, "godwit", std::string(16, 'G'), Role::kSource},
      odd_page,
      odd_size,
      no_size,
      odd_node,
      no_rails,
      Accept{},
      VerifyRequest{0},
      VerifyRequest{12345},
      VerifyHashes{0, 0, {}},
  };

  for (const ControlMessage& message : impossible)
    EXPECT_FALSE(decode(encode(message)).has_value()) << name_of(message);
}

TEST(ControlMessages, RefuseTimesThatAreNotTimes) {
  for (double value :
       {-1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    std::vector<std::byte> bytes = encode(Ready{});
    std::vector<std::byte> field;
    Encoder(field).f64(value);
    std::copy(field.begin(), field.end(), bytes.begin() + 1);

    EXPECT_FALSE(decode(bytes).has_value()) << value;
  }
}

TEST(ControlMessages, RefuseIdentityKeysOutOfOrder) {
  std::vector<std::byte> bytes =
      encode(Offer{.identity = {{"a", "1"}, {"b", "2"}}, .rails = {{"tcp", "tcp", -1}}});
  const auto key_of_first = bytes.begin() + 1 + 4 + 4;
  ASSERT_EQ(*key_of_first, std::byte{'a'});
  *key_of_first = std::byte{'b'};  // twice the same key

  EXPECT_FALSE(decode(bytes).has_value());
}

TEST(ControlMessages, CarryTheLargestAllowedLists) {
  const StatePiece piece{std::vector<std::byte>(kStatePieceBytesMax, std::byte{7})};
  const VerifyHashes hashes{1, 2, std::vector<uint64_t>(kVerifyHashesMax, 3)};
  Offer offer;
  offer.rails.resize(kRailsMax, {"rxe0", "rdma", 0});
  offer.blocks.resize(kBlocksMax, {"ram", 4 * kKiB, 4 * kKiB, 0});

  EXPECT_TRUE(decode(encode(piece)).has_value());
  EXPECT_TRUE(decode(encode(hashes)).has_value());
  EXPECT_TRUE(decode(encode(offer)).has_value());
}

TEST(ControlMessages, RefuseAStatePieceThatIsTooLarge) {
  std::vector<std::byte> bytes = encode(StatePiece{std::vector<std::byte>(kStatePieceBytesMax)});
  std::vector<std::byte> length;
  Encoder(length).u32(kStatePieceBytesMax + 1);
  std::copy(length.begin(), length.end(), bytes.begin() + 1);
  bytes.push_back(std::byte{0});

  EXPECT_FALSE(decode(bytes).has_value());
}

TEST(ControlMessages, CutReasonsThatAreTooLong) {
  const Result<ControlMessage> decoded =
      decode(encode(Abort{Errc::kGuest, std::string(kReasonBytesMax + 100, 'x')}));

  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(std::get<Abort>(*decoded).reason.size(), kReasonBytesMax);
}

TEST(ControlMessagesDeathTest, ListTooLongToSendIsABugOfOurs) {
  const StatePiece piece{std::vector<std::byte>(kStatePieceBytesMax + 1)};

  EXPECT_DEATH(encode(piece), "broken invariant");
}

}  // namespace
}  // namespace godwit
