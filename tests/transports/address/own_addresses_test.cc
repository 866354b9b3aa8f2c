// SPDX-License-Identifier: Apache-2.0
#include "transports/address/own_addresses.h"

#include <gtest/gtest.h>

#include "transports/address/route.h"
#include "transports/address/socket_address.h"

namespace godwit {
namespace {

TEST(OwnAddresses, AreWhatOthersCanConnectTo) {
  const std::vector<OwnAddress> addresses = own_addresses();

  ASSERT_FALSE(addresses.empty());
  for (const OwnAddress& own : addresses) {
    const auto resolved = resolve(own.host + ":1", AddressUse::kConnect);
    ASSERT_TRUE(resolved) << own.host;
    EXPECT_FALSE(own.interface.empty());
    // 127.0.0.1 is told only where there is nothing else.
    EXPECT_EQ(is_loopback(resolved->front()), own.interface == "lo") << own.host;
    EXPECT_TRUE(own.interface != "lo" || addresses.size() == 1);
  }
}

}  // namespace
}  // namespace godwit
