// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/matrix_analysis.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace godwit::qualify {
namespace {

constexpr double kUsual = 1e9;

// So many hosts, all alike.
MatrixReport alike(size_t hosts) {
  MatrixReport report;
  report.hosts.resize(hosts);
  for (size_t from = 0; from < hosts; ++from) {
    for (size_t to = 0; to < hosts; ++to) {
      if (from == to) continue;
      Direction& direction = report.pairs.emplace_back();
      direction.from = from;
      direction.to = to;
      direction.bytes_per_s = kUsual;
      direction.reads = 1000;
      direction.read_p50_us = 10;
    }
  }
  return report;
}

Direction& at(MatrixReport& report, size_t from, size_t to) {
  return *std::ranges::find_if(report.pairs, [&](const Direction& direction) {
    return direction.from == from && direction.to == to;
  });
}

std::vector<FindingKind> kinds(const std::vector<MatrixFinding>& findings) {
  std::vector<FindingKind> kinds;
  for (const MatrixFinding& finding : findings) kinds.push_back(finding.kind);
  return kinds;
}

TEST(MatrixAnalysis, NothingStandsOutWhereAllAreAlike) {
  EXPECT_TRUE(analyze_matrix(alike(5)).empty());
  EXPECT_TRUE(analyze_matrix(MatrixReport()).empty());
}

TEST(MatrixAnalysis, LinkThatIsSlowBothWaysIsNamedBothWays) {
  MatrixReport report = alike(4);
  at(report, 1, 3).bytes_per_s = 0.2 * kUsual;
  at(report, 3, 1).bytes_per_s = 0.25 * kUsual;

  const std::vector<MatrixFinding> findings = analyze_matrix(report);

  EXPECT_EQ(
      findings,
      (std::vector<MatrixFinding>{
          {.kind = FindingKind::kSlowLink, .from = 1, .to = 3, .value = 2e8, .usual = 1e9},
          {.kind = FindingKind::kSlowLink, .from = 3, .to = 1, .value = 2.5e8, .usual = 1e9}}));
}

TEST(MatrixAnalysis, LinkThatIsSlowOneWayIsAnAsymmetryToo) {
  MatrixReport report = alike(4);
  at(report, 0, 2).bytes_per_s = 0.5 * kUsual;

  const std::vector<MatrixFinding> findings = analyze_matrix(report);

  ASSERT_EQ(kinds(findings),
            (std::vector<FindingKind>{FindingKind::kSlowLink, FindingKind::kAsymmetry}));
  EXPECT_EQ(findings[1].from, 0U);
  EXPECT_EQ(findings[1].to, 2U);
  EXPECT_EQ(findings[1].usual, kUsual);
}

TEST(MatrixAnalysis, LinkThatVariesTooMuchIsNotNamed) {
  MatrixReport report = alike(4);
  at(report, 0, 2).bytes_per_s = 0.5 * kUsual;
  at(report, 0, 2).half_width_bytes_per_s = 0.25 * kUsual;
  at(report, 1, 3).bytes_per_s = 0.65 * kUsual;
  at(report, 3, 1).half_width_bytes_per_s = 0.1 * kUsual;

  const std::vector<MatrixFinding> findings = analyze_matrix(report);

  ASSERT_EQ(kinds(findings), (std::vector<FindingKind>{FindingKind::kSlowLink}));
  EXPECT_EQ(findings[0].from, 1U) << "slow, but perhaps as fast as its way back";
}

TEST(MatrixAnalysis, SlowHostIsNamedInsteadOfItsLinks) {
  MatrixReport report = alike(5);
  for (Direction& direction : report.pairs) {
    if (direction.from == 2) direction.bytes_per_s = 0.3 * kUsual;
  }

  const std::vector<MatrixFinding> findings = analyze_matrix(report);

  ASSERT_EQ(kinds(findings), (std::vector<FindingKind>{FindingKind::kSlowSender}));
  EXPECT_EQ(findings[0].from, 2U);
  EXPECT_EQ(findings[0].value, 0.3 * kUsual);
}

TEST(MatrixAnalysis, HostThatIsSlowBothWaysIsNamedForBoth) {
  MatrixReport report = alike(6);
  for (Direction& direction : report.pairs) {
    if (direction.from == 2 || direction.to == 2) direction.bytes_per_s = 0.3 * kUsual;
  }
  at(report, 0, 1).bytes_per_s = 0.5 * kUsual;

  EXPECT_EQ(kinds(analyze_matrix(report)),
            (std::vector<FindingKind>{FindingKind::kSlowSender, FindingKind::kSlowReceiver,
                                      FindingKind::kSlowLink, FindingKind::kAsymmetry}));
}

TEST(MatrixAnalysis, ThreeHostsAreEnoughToTellTheSlowOne) {
  MatrixReport report = alike(3);
  for (Direction& direction : report.pairs) {
    if (direction.from == 0) direction.bytes_per_s = 0.3 * kUsual;
  }

  EXPECT_EQ(kinds(analyze_matrix(report)), (std::vector<FindingKind>{FindingKind::kSlowSender}));
}

TEST(MatrixAnalysis, WhatWasNotMeasuredCountsForNothing) {
  MatrixReport report = alike(4);
  for (Direction& direction : report.pairs) {
    if (direction.from != 3 && direction.to != 3) continue;
    direction.bytes_per_s = 0;
    direction.failure = "nobody listens";
  }

  EXPECT_TRUE(analyze_matrix(report).empty());
  EXPECT_FALSE(report.complete());
}

TEST(MatrixAnalysis, PairThatAnswersLateIsNamed) {
  MatrixReport report = alike(4);
  at(report, 2, 1).read_p50_us = 100;

  const std::vector<MatrixFinding> findings = analyze_matrix(report);

  ASSERT_EQ(kinds(findings), (std::vector<FindingKind>{FindingKind::kHighLatency}));
  EXPECT_EQ(findings[0].from, 2U);
  EXPECT_EQ(findings[0].value, 100);
}

TEST(MatrixAnalysis, RatesWithEveryoneAreHeldAgainstThoseAlone) {
  MatrixReport report = alike(4);
  for (size_t host = 0; host < 4; ++host) {
    Direction& direction = report.at_once.emplace_back(at(report, host, (host + 2) % 4));
    direction.bytes_per_s *= host == 1 ? 0.2 : 0.6;
  }

  const std::vector<MatrixFinding> findings = analyze_matrix(report);

  ASSERT_EQ(kinds(findings),
            (std::vector<FindingKind>{FindingKind::kContention, FindingKind::kSlowAtOnce}));
  EXPECT_DOUBLE_EQ(findings[0].value, 0.6);
  EXPECT_EQ(findings[1].from, 1U);
  EXPECT_EQ(findings[1].to, 3U);
}

TEST(Median, IsTheMiddleOrBetweenTheTwo) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
}

TEST(FindingKinds, HaveNamesOfTheirOwn) {
  std::set<std::string> names;
  for (int kind = 1; kind <= static_cast<int>(FindingKind::kContention); ++kind)
    names.insert(to_string(static_cast<FindingKind>(kind)));

  EXPECT_EQ(names.size(), static_cast<size_t>(FindingKind::kContention));
}

}  // namespace
}  // namespace godwit::qualify
