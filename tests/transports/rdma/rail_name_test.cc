// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/rail_name.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

TEST(RailName, ADeviceAloneLeavesPortAndGidOpen) {
  const RailName name = parse_rail_name("mlx5_0").value();

  EXPECT_EQ(name.device, "mlx5_0");
  EXPECT_EQ(name.port, std::nullopt);
  EXPECT_EQ(name.gid_index, std::nullopt);
}

TEST(RailName, PortAndGidAreTakenWithAndWithoutEachOther) {
  const RailName both = parse_rail_name("mlx5_0:2/3").value();
  EXPECT_EQ(both.device, "mlx5_0");
  EXPECT_EQ(both.port, 2);
  EXPECT_EQ(both.gid_index, 3U);

  EXPECT_EQ(parse_rail_name("rxe0:1").value().port, 1);
  EXPECT_EQ(parse_rail_name("rxe0:1").value().gid_index, std::nullopt);
  EXPECT_EQ(parse_rail_name("rxe0/0").value().port, std::nullopt);
  EXPECT_EQ(parse_rail_name("rxe0/0").value().gid_index, 0U);
}

TEST(RailName, NothingNamesAnyRail) {
  const RailName name = parse_rail_name("").value();

  EXPECT_TRUE(name.device.empty());
  EXPECT_EQ(name.port, std::nullopt);
  EXPECT_EQ(name.gid_index, std::nullopt);
}

TEST(RailName, WhatIsNoRailIsRefused) {
  for (const char* text :
       {":1", "/1", "rxe0:", "rxe0/", "rxe0:0", "rxe0:256", "rxe0:x", "rxe0/x", "rxe0/65536",
        "rxe0:1:2", "rxe0/1/2", "rxe0/1:2", "rxe0:-1", "rxe0: 1", "rxe0/4294967297"}) {
    const Result<RailName> name = parse_rail_name(text);

    ASSERT_FALSE(name) << text;
    EXPECT_EQ(name.error().code, Errc::kRefused) << text;
    EXPECT_NE(to_string(name.error()).find(text), std::string::npos);
  }
}

}  // namespace
}  // namespace godwit
