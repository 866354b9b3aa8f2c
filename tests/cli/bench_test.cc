// SPDX-License-Identifier: Apache-2.0
//
// What `godwit bench` understands, concludes and prints.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "cli/bench_findings.h"
#include "cli/bench_json.h"
#include "cli/bench_options.h"
#include "cli/bench_plot.h"
#include "cli/bench_text.h"

namespace godwit::cli {
namespace {

using qualify::Confidence;

constexpr uint64_t kGbit = 1'000'000'000;

BenchOutcome outcome_at(double bytes_per_s, Confidence confidence = Confidence::kNarrow) {
  BenchOutcome outcome;
  outcome.peer = "192.0.2.2:7473";
  outcome.security = "TLS 1.3, pre-shared key";
  qualify::BenchReport& report = outcome.report;
  report.paths = {{.rail = "mlx5_0:1/3",
                   .transport = "rdma",
                   .numa_node = 0,
                   .peer_rail = "mlx5_1:1/3",
                   .link = {.device = "mlx5_0", .line_rate_bits_per_s = 100 * kGbit},
                   .peer_link = {.device = "mlx5_1", .line_rate_bits_per_s = 25 * kGbit}}};
  report.registration_s_per_gib = {0.05};
  report.bandwidth = {{.cell = {.size_bytes = 1 << 20, .lanes = 2, .depth = 4, .paths = {0}},
                       .bandwidth = {.bytes_per_s = bytes_per_s,
                                     .half_width_bytes_per_s = bytes_per_s / 100,
                                     .min_100ms_bytes_per_s = bytes_per_s / 2,
                                     .confidence = confidence,
                                     .duration_s = 1,
                                     .moved_bytes = 2'000'000'000,
                                     .cpu = {.here_s = 0.5, .there_s = 0.1, .elapsed_s = 1}}}};
  report.latency = {{.cell = {.verb = qualify::Verb::kFault,
                              .size_bytes = 4096,
                              .paths = {0},
                              .load = qualify::Load::kFull},
                     .latency = {.count = 1000,
                                 .p50_us = 12.5,
                                 .max_us = 99,
                                 .half_width_us = std::numeric_limits<double>::infinity(),
                                 .confidence = Confidence::kNoisy,
                                 .distribution = {{12.5, 0.5}, {40, 0.999}, {99, 1}}}}};
  return outcome;
}

TEST(BenchOptionsTest, HostNeedsNoPort) {
  EXPECT_EQ(bench_address("host-b").value(), "host-b:7473");
  EXPECT_EQ(bench_address("192.0.2.2:99").value(), "192.0.2.2:99");
  EXPECT_EQ(bench_address("[2001:db8::1]").value(), "[2001:db8::1]:7473");
  EXPECT_EQ(bench_address("[2001:db8::1]:99").value(), "[2001:db8::1]:99");
  EXPECT_EQ(bench_address("2001:db8::1").value(), "[2001:db8::1]:7473");
  EXPECT_FALSE(bench_address("host-b:"));
}

TEST(BenchOptionsTest, NumbersHaveToFitEachOther) {
  BenchCliOptions options;
  EXPECT_TRUE(to_bench_options(options));
  options.lanes = {64};
  EXPECT_FALSE(to_bench_options(options)) << "16 MiB for each of 64 lanes";
  options.sizes = {"4KiB", "1MiB"};
  EXPECT_EQ(to_bench_options(options).value().sizes_bytes, (std::vector<uint32_t>{4096, 1 << 20}));
  options.sizes = {"32MiB"};
  EXPECT_FALSE(to_bench_options(options));
  options.sizes = {};
  options.lanes = {};
  options.memory_nodes.assign(kBenchMemoriesMax + 1, 0);
  EXPECT_FALSE(to_bench_options(options));
  options.memory_nodes = {};
  options.memory = "8GiB";
  EXPECT_FALSE(to_bench_options(options));
}

TEST(BenchFindings, LineRateIsThatOfTheSlowerEnd) {
  const BenchOutcome outcome = outcome_at(2.5e9);

  EXPECT_NEAR(*share_of_line_rate(outcome.report.bandwidth[0], outcome.report), 0.8, 1e-9);
  EXPECT_TRUE(find_findings(outcome_at(3e9).report).size() == 1U) << "the noisy latency alone";
}

TEST(BenchFindings, LinkBelowItsLineRateIsFlaggedWithTheCauses) {
  BenchOutcome outcome = outcome_at(1e9);
  outcome.report.paths[0].peer_link.suspicions = {"PCIe width is x4, the device could x8"};
  outcome.report.bandwidth[0].cell.memory_node = 1;

  const std::string found = find_findings(outcome.report)[0];

  EXPECT_NE(found.find("32 % of the line rate"), std::string::npos) << found;
  EXPECT_NE(found.find("there, PCIe width is x4"), std::string::npos) << found;
  EXPECT_NE(found.find("node 1 and the device on node 0"), std::string::npos) << found;
}

TEST(BenchFindings, WithoutLineRatesNothingIsSaidOfThem) {
  BenchOutcome outcome = outcome_at(1);
  outcome.report.paths[0].link.line_rate_bits_per_s = 0;
  outcome.report.latency.clear();

  EXPECT_FALSE(share_of_line_rate(outcome.report.bandwidth[0], outcome.report));
  EXPECT_TRUE(find_findings(outcome.report).empty());
}

TEST(BenchFindings, NoisyMachineIsNamed) {
  BenchOutcome outcome = outcome_at(3e9, Confidence::kNoisy);
  outcome.report.bandwidth[0].bandwidth.cpu.others_there = 1.5;

  const std::string found = find_findings(outcome.report)[0];

  EXPECT_NE(found.find("2 of 2 results"), std::string::npos) << found;
  EXPECT_NE(found.find("0.0 CPUs here and 1.5 there"), std::string::npos) << found;
}

TEST(BenchJson, HasWhatIsDocumented) {
  const auto json = nlohmann::json::parse(render_bench_json(outcome_at(2.5e9)));

  EXPECT_EQ(json.at("schema"), 1);
  EXPECT_EQ(json.at("paths").at(0).at("link").at("line_rate_bits_per_s"), 100 * kGbit);
  EXPECT_EQ(json.at("paths").at(0).at("link").at("mtu_bytes"), nullptr);
  const auto& bandwidth = json.at("bandwidth").at(0);
  EXPECT_EQ(bandwidth.at("verb"), "write");
  EXPECT_EQ(bandwidth.at("rails"), nlohmann::json({"mlx5_0:1/3"}));
  EXPECT_EQ(bandwidth.at("bytes_per_s"), 2.5e9);
  EXPECT_EQ(bandwidth.at("cpu_s_per_gb"), 0.25);
  EXPECT_EQ(bandwidth.at("memory_node"), nullptr);
  const auto& latency = json.at("latency").at(0);
  EXPECT_EQ(latency.at("verb"), "fault");
  EXPECT_EQ(latency.at("load"), "full");
  EXPECT_EQ(latency.at("half_width_us"), nullptr);
  EXPECT_EQ(latency.at("confidence"), "noisy");
  EXPECT_EQ(latency.at("distribution"),
            nlohmann::json::parse("[[12.5, 0.5], [40.0, 0.999], [99.0, 1.0]]"));
}

TEST(BenchCsv, EveryLineHasEveryColumn) {
  const std::string csv = render_bench_csv(outcome_at(2.5e9));
  const auto commas = [](const std::string& line) { return std::ranges::count(line, ','); };

  std::vector<std::string> lines;
  for (size_t at = 0; at < csv.size(); at = csv.find('\n', at) + 1)
    lines.push_back(csv.substr(at, csv.find('\n', at) - at));

  ASSERT_EQ(lines.size(), 3U);
  EXPECT_TRUE(lines[1].starts_with("bandwidth,write,1048576,2,4,mlx5_0:1/3,,,2500000000.0,"));
  EXPECT_EQ(commas(lines[1]), commas(lines[0]));
  EXPECT_EQ(commas(lines[2]), commas(lines[0]));
}

TEST(BenchText, MarksWhatSaysLittle) {
  const std::string text = render_bench_text(outcome_at(2.5e9));

  EXPECT_NE(text.find("1 MiB      2      4      2.500    1.0%"), std::string::npos) << text;
  EXPECT_NE(text.find("80%"), std::string::npos) << text;
  EXPECT_NE(text.find("under full load ?"), std::string::npos) << text;
  EXPECT_NE(text.find("1 MiB " + std::string(60, '#') + "\n"), std::string::npos) << text;
  EXPECT_NE(text.find(">100%"), std::string::npos) << text;
}

TEST(BenchPlot, HasALetterForEachShareWhereItsLatencyIs) {
  qualify::BenchReport report;
  for (const auto& [verb, us] :
       {std::pair(qualify::Verb::kWrite, 10.0), std::pair(qualify::Verb::kRead, 1000.0)}) {
    for (const uint32_t size : {4096, 65536}) {
      qualify::LatencyResult result{.cell = {.verb = verb, .size_bytes = size, .paths = {0}},
                                    .latency = {}};
      for (const double share :
           {0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0})
        result.latency.distribution.push_back({size == 4096 ? us : 1e6, share});
      report.latency.push_back(result);
    }
  }

  const std::string plot = render_latency_plot(report);

  EXPECT_NE(plot.find("  99.9% |w" + std::string(62, ' ') + "r\n"), std::string::npos) << plot;
  EXPECT_NE(plot.find("     1% |w" + std::string(62, ' ') + "r\n"), std::string::npos) << plot;
  EXPECT_NE(plot.find("10 us"), std::string::npos);
  EXPECT_NE(plot.find("w write 4 KiB  r read 4 KiB\n"), std::string::npos) << plot;
  EXPECT_EQ(render_latency_plot({}), "");
}

}  // namespace
}  // namespace godwit::cli
