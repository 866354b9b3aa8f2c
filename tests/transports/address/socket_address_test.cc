// SPDX-License-Identifier: Apache-2.0
#include "transports/address/socket_address.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

TEST(Address, IsAHostAndAPort) {
  Result<HostPort> name = parse_host_port("host-b.example:7471");
  Result<HostPort> v6 = parse_host_port("[2001:db8::1]:7471");

  ASSERT_TRUE(name);
  EXPECT_EQ(name->host, "host-b.example");
  EXPECT_EQ(name->port, "7471");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->host, "2001:db8::1");
}

TEST(Address, IsRefusedWhenItIsIncomplete) {
  for (std::string_view text :
       {"", "host", ":7471", "host:", "host:http", "host:65536", "2001:db8::1:7471", "[]:1"}) {
    EXPECT_FALSE(parse_host_port(text)) << text;
  }
}

TEST(Address, IsResolvedInEitherFamily) {
  for (const char* text : {"127.0.0.1:7471", "[::1]:7471"}) {
    for (const AddressUse use : {AddressUse::kConnect, AddressUse::kListen}) {
      const auto addresses = resolve(text, use);
      ASSERT_TRUE(addresses) << to_string(addresses.error());
      EXPECT_EQ(to_string(addresses->front()), text);
      EXPECT_TRUE(is_loopback(addresses->front()));
    }
  }
}

TEST(Address, ThatIsNoneIsRefused) {
  for (const char* text : {":7471", "127.0.0.1", "::1:7471"}) {
    const auto addresses = resolve(text, AddressUse::kListen);
    ASSERT_FALSE(addresses) << text;
    EXPECT_EQ(addresses.error().code, Errc::kRefused);
  }
}

}  // namespace
}  // namespace godwit
