// SPDX-License-Identifier: Apache-2.0
//
// All versions of the zero scan against the definition: a single byte that is not zero, anywhere,
// must be seen; nothing beyond the end may be.
#include "engine/memory/zero_scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace godwit {
namespace {

class ZeroScan : public testing::TestWithParam<ZeroScanKind> {
 protected:
  void SetUp() override {
    if (!zero_scan_supported(GetParam())) GTEST_SKIP() << "this CPU lacks the instruction set";
  }

  bool scan(std::span<const std::byte> bytes) { return is_zero_with(GetParam(), bytes); }
};

TEST_P(ZeroScan, SeesASingleByteAtEveryPositionOfAPage) {
  std::vector<std::byte> page(4096);
  ASSERT_TRUE(scan(page));

  for (size_t at = 0; at < page.size(); ++at) {
    page[at] = std::byte{1};
    ASSERT_FALSE(scan(page)) << "byte " << at;
    page[at] = std::byte{0};
  }
}

TEST_P(ZeroScan, SeesEverySingleBitOfALine) {
  std::vector<std::byte> line(64);

  for (size_t bit = 0; bit < 64 * 8; ++bit) {
    line[bit / 8] = static_cast<std::byte>(1U << (bit % 8));
    ASSERT_FALSE(scan(line)) << "bit " << bit;
    line[bit / 8] = std::byte{0};
  }
}

TEST_P(ZeroScan, LooksAtExactlyTheBytesItIsGivenAtAnyAlignment) {
  // Everything around the scanned part is set: reading one byte too many would say "not zero".
  constexpr size_t kMargin = 128;
  for (size_t size = 0; size <= 1280; size += 64) {
    for (size_t start = 0; start < 64; ++start) {
      std::vector<std::byte> memory(size + 2 * kMargin, std::byte{0xff});
      const std::span<std::byte> part(memory.data() + kMargin + start, size);
      std::fill(part.begin(), part.end(), std::byte{0});
      ASSERT_TRUE(scan(part)) << size << " bytes at offset " << start;

      for (size_t at = 0; at < size; ++at) {
        part[at] = std::byte{0x80};
        ASSERT_FALSE(scan(part)) << "byte " << at << " of " << size << " at offset " << start;
        part[at] = std::byte{0};
      }
    }
  }
}

TEST_P(ZeroScan, AgreesWithThePortableVersionOnRandomSparseMemory) {
  std::mt19937_64 random(17);
  for (int repeat = 0; repeat < 2000; ++repeat) {
    std::vector<std::byte> memory(64 * (1 + random() % 256));
    if (random() % 2 == 0) memory[random() % memory.size()] = static_cast<std::byte>(random());

    ASSERT_EQ(scan(memory), is_zero_with(ZeroScanKind::kPortable, memory)) << "repeat " << repeat;
  }
}

std::string kind_name(const testing::TestParamInfo<ZeroScanKind>& kind) {
  switch (kind.param) {
    case ZeroScanKind::kPortable:
      return "Portable";
    case ZeroScanKind::kAvx2:
      return "Avx2";
    case ZeroScanKind::kAvx512:
      return "Avx512";
  }
  return "Unknown";
}

INSTANTIATE_TEST_SUITE_P(Kinds, ZeroScan,
                         testing::Values(ZeroScanKind::kPortable, ZeroScanKind::kAvx2,
                                         ZeroScanKind::kAvx512),
                         kind_name);

TEST(ZeroScanChoice, TakesAVersionThatThisCpuHas) {
  EXPECT_TRUE(zero_scan_supported(zero_scan_chosen()));
}

TEST(ZeroScanChoice, ChosenVersionAnswersForAWholePage) {
  std::vector<std::byte> page(4096);
  EXPECT_TRUE(is_zero(page));

  page.back() = std::byte{1};
  EXPECT_FALSE(is_zero(page));
}

}  // namespace
}  // namespace godwit
