// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/inbox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace godwit {
namespace {

TEST(Inbox, KeepsTheOrderAcrossItsEnd) {
  Inbox inbox;
  std::vector<std::byte> output(5000);

  for (int i = 0; i < 2000; ++i) {
    const std::vector<std::byte> message(static_cast<size_t>(i * 7 % 5000),
                                         static_cast<std::byte>(i));
    ASSERT_TRUE(inbox.push(message));
    ASSERT_EQ(inbox.front_bytes(), message.size());
    inbox.pop(output);
    ASSERT_TRUE(std::equal(message.begin(), message.end(), output.begin()));
  }
  EXPECT_TRUE(inbox.empty());
}

TEST(Inbox, RefusesWhatDoesNotFitAndKeepsWhatItHas) {
  Inbox inbox;
  const std::vector<std::byte> message(kInboxBytes / 2, std::byte{1});
  std::vector<std::byte> output(message.size());

  EXPECT_TRUE(inbox.push(message));
  EXPECT_FALSE(inbox.push(message));

  inbox.pop(output);
  EXPECT_EQ(output, message);
  EXPECT_EQ(inbox.consumed_bytes(), message.size() + kInboxPrefixBytes);
  EXPECT_TRUE(inbox.push(message));
}

}  // namespace
}  // namespace godwit
