// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/bench_admission.h"

#include <gtest/gtest.h>

#include <vector>

namespace godwit::qualify {
namespace {

Hello hello(Purpose purpose, const std::string& session = "0123456789abcdef") {
  return {.session = session, .purpose = purpose};
}

TEST(BenchAdmissionTest, OneBenchRunsAtATime) {
  BenchAdmission admission;
  {
    const auto first = admission.admit(hello(Purpose::kBench));
    ASSERT_TRUE(first);
    EXPECT_FALSE(first->is_part());
    EXPECT_EQ(admission.admit(hello(Purpose::kBench)).error().code, Errc::kRefused);
    EXPECT_FALSE(admission.admit(hello(Purpose::kMatrix)));
  }
  EXPECT_TRUE(admission.admit(hello(Purpose::kMatrix)));
}

TEST(BenchAdmissionTest, MatrixLetsInWhatIsPartOfIt) {
  BenchAdmission admission;
  const auto matrix = admission.admit(hello(Purpose::kMatrix));

  const auto part = admission.admit(hello(Purpose::kBench));

  ASSERT_TRUE(part);
  EXPECT_TRUE(part->is_part());
  EXPECT_FALSE(admission.admit(hello(Purpose::kBench, "fedcba9876543210"))) << "of somebody else";
  EXPECT_FALSE(admission.admit(hello(Purpose::kMatrix))) << "there is one already";
}

TEST(BenchAdmissionTest, PartsOfAMatrixAreFew) {
  BenchAdmission admission;
  const auto matrix = admission.admit(hello(Purpose::kMatrix));
  std::vector<Result<BenchAdmission::Place>> parts;
  for (size_t i = 0; i < kPartsOfMatrixMax; ++i)
    parts.push_back(admission.admit(hello(Purpose::kBench)));
  ASSERT_TRUE(parts.back());
  EXPECT_FALSE(admission.admit(hello(Purpose::kBench)));

  parts.pop_back();

  EXPECT_TRUE(admission.admit(hello(Purpose::kBench)));
}

TEST(BenchAdmissionTest, PlaceThatIsMovedIsLeftOnce) {
  BenchAdmission admission;
  auto first = admission.admit(hello(Purpose::kBench));
  {
    const BenchAdmission::Place moved = std::move(*first);
    EXPECT_FALSE(admission.admit(hello(Purpose::kBench)));
  }
  const auto second = admission.admit(hello(Purpose::kBench));
  ASSERT_TRUE(second);

  first = fail(Errc::kCancelled, "gone");

  EXPECT_FALSE(admission.admit(hello(Purpose::kBench))) << "the second is still there";
}

}  // namespace
}  // namespace godwit::qualify
