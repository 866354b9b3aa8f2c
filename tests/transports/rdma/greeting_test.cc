// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/greeting.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "tests/support/connected_endpoints.h"

namespace godwit {
namespace {

using test::make_ticket;

TEST(Greeting, ComesBackAsItWasSentWhateverIsPaddedBehindIt) {
  const Greeting sent =
      make_greeting(make_ticket(3), {.address = 0x1122334455667788, .remote_key = 9});
  std::array<std::byte, 196> padded{};
  std::memcpy(padded.data(), &sent, sizeof(sent));

  const Result<Greeting> received = decode_greeting(padded.data(), padded.size());

  ASSERT_TRUE(received);
  EXPECT_EQ(received->flush_address, 0x1122334455667788U);
  EXPECT_EQ(received->flush_key, 9U);
  EXPECT_EQ(ticket_of(*received).lane, 3U);
  EXPECT_EQ(ticket_of(*received).token, make_ticket(3).token);
}

TEST(Greeting, IsRefusedWhenItIsShortOrOfAnotherVersion) {
  Greeting greeting = make_greeting(make_ticket(0), {});
  EXPECT_EQ(decode_greeting(&greeting, sizeof(greeting) - 1).error().code, Errc::kCorrupt);
  EXPECT_EQ(decode_greeting(nullptr, 0).error().code, Errc::kCorrupt);
  ++greeting.version;
  EXPECT_EQ(decode_greeting(&greeting, sizeof(greeting)).error().code, Errc::kRefused);
}

}  // namespace
}  // namespace godwit
