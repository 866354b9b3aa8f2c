// SPDX-License-Identifier: Apache-2.0
#include "cli/units.h"

#include <gtest/gtest.h>

namespace godwit::cli {
namespace {

TEST(Units, DurationIsANumberWithItsUnit) {
  EXPECT_EQ(parse_duration("200us").value(), microseconds(200));
  EXPECT_EQ(parse_duration("30ms").value(), milliseconds(30));
  EXPECT_EQ(parse_duration("1.5s").value(), milliseconds(1500));
  EXPECT_EQ(parse_duration("2min").value(), seconds(120));
  EXPECT_EQ(parse_duration("30 ms").value(), milliseconds(30));
}

TEST(Units, DurationIsRefusedWhenItIsNotOne) {
  for (std::string_view text : {"", "30", "ms", "-1ms", "30sec", "1e9s", "nans", "infs", "30ms2"}) {
    Result<Clock::duration> parsed = parse_duration(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Errc::kRefused);
  }
}

TEST(Units, SizeIsInBytes) {
  EXPECT_EQ(parse_size("64KiB").value(), 65'536U);
  EXPECT_EQ(parse_size("1.5MB").value(), 1'500'000U);
  EXPECT_EQ(parse_size("8B").value(), 8U);
  for (std::string_view text : {"", "64", "64K", "0B", "-1KiB", "1e30GB", "nanB"})
    EXPECT_FALSE(parse_size(text)) << text;
}

TEST(Units, RateIsInBitsOrBytesPerSecond) {
  EXPECT_EQ(parse_rate("10Gbit").value(), 1'250'000'000U);
  EXPECT_EQ(parse_rate("800Mbit/s").value(), 100'000'000U);
  EXPECT_EQ(parse_rate("1.5GB/s").value(), 1'500'000'000U);
  EXPECT_EQ(parse_rate("100MiB").value(), 104'857'600U);
  EXPECT_EQ(parse_rate("5000B/s").value(), 5000U);
}

TEST(Units, RateIsRefusedWhenItIsNotOne) {
  for (std::string_view text :
       {"", "10", "10G", "10gbit", "0Gbit", "1B/s", "-1GB", "1e30GB", "/s"}) {
    Result<uint64_t> parsed = parse_rate(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Errc::kRefused);
  }
}

TEST(Units, FiguresAreWrittenForPeople) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_bytes(3'242'700'000), "3.02 GiB");
  EXPECT_EQ(format_rate(1.85e9), "1.85 GB/s");
  EXPECT_EQ(format_rate(120e6), "120 MB/s");
  EXPECT_EQ(format_milliseconds(12.44), "12.4 ms");
  EXPECT_EQ(format_milliseconds(2314), "2.31 s");
}

}  // namespace
}  // namespace godwit::cli
