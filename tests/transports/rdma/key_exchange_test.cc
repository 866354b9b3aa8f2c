// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/key_exchange.h"

#include <gtest/gtest.h>

#include <array>

#include "engine/base/units.h"

namespace godwit {
namespace {

constexpr RemoteRegion kRegion{.base = 0x1000, .size_bytes = 64 * kMiB, .key = 77};

KeyMessage ready(uint64_t region, uint32_t chunk, uint32_t key) {
  return {.kind = KeyMessageKind::kReady, .chunk = chunk, .region = region, .key = key, .error = 0};
}

TEST(KeyMessage, ComesBackAsItWasSent) {
  const KeyMessage sent = ready(0x1122334455667788, 9, 0xabcdef);
  const Result<KeyMessage> received = decode_key_message(std::as_bytes(std::span(&sent, 1)));
  ASSERT_TRUE(received);
  EXPECT_EQ(received->region, sent.region);
  EXPECT_EQ(received->chunk, 9U);
  EXPECT_EQ(received->key, 0xabcdefU);
}

TEST(KeyMessage, IsRefusedWhenItIsOfAnotherSizeOrKind) {
  KeyMessage message = ready(1, 2, 3);
  EXPECT_FALSE(decode_key_message(std::as_bytes(std::span(&message, 1)).first(23)));
  EXPECT_FALSE(decode_key_message({}));
  for (uint32_t kind : {0U, 4U, ~0U}) {
    message.kind = static_cast<KeyMessageKind>(kind);
    EXPECT_FALSE(decode_key_message(std::as_bytes(std::span(&message, 1)))) << kind;
  }
}

TEST(RemoteKeys, LearnOnlyWhatTheyAskedFor) {
  RemoteKeys keys;
  EXPECT_FALSE(keys.learn(ready(77, 0, 5)));  // of a region never seen
  RemoteKeys::Region& region = keys.find(kRegion);
  EXPECT_FALSE(keys.learn(ready(77, 0, 5)));
  region.states[0] = RemoteKeys::Region::State::kAsked;
  EXPECT_FALSE(keys.learn(ready(77, static_cast<uint32_t>(region.map.count()), 5)));

  EXPECT_TRUE(keys.learn(ready(77, 0, 5)));

  EXPECT_EQ(region.keys[0], 5U);
  EXPECT_FALSE(keys.learn(ready(77, 0, 6)));  // twice
  EXPECT_EQ(region.keys[0], 5U);
}

TEST(RemoteKeys, KeepRegionsApart) {
  RemoteKeys keys;
  RemoteKeys::Region& first = keys.find(kRegion);
  RemoteRegion other = kRegion;
  other.key = 78;
  RemoteKeys::Region& second = keys.find(other);

  EXPECT_NE(&first, &second);
  EXPECT_EQ(&keys.find(kRegion), &first);
}

}  // namespace
}  // namespace godwit
