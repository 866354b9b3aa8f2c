// SPDX-License-Identifier: Apache-2.0
//
// What `godwit bench matrix` understands, tells the other processes of its job, and prints.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/launcher/job.h"
#include "cli/launcher/job_card.h"
#include "cli/launcher/job_key.h"
#include "cli/matrix_json.h"
#include "cli/matrix_measure.h"
#include "cli/matrix_options.h"
#include "cli/matrix_text.h"
#include "transports/control/psk_file.h"

namespace godwit::cli {
namespace {

using qualify::Direction;

Direction direction_of(size_t from, size_t to, double bytes_per_s) {
  Direction direction;
  direction.from = from;
  direction.to = to;
  direction.round = 1;
  direction.address = "192.0.2.1:7473";
  direction.transport = "tcp";
  direction.bytes_per_s = bytes_per_s;
  direction.half_width_bytes_per_s = bytes_per_s / 100;
  direction.confidence = qualify::Confidence::kNarrow;
  direction.reads = 1000;
  direction.read_p50_us = 20;
  direction.read_p99_us = 35;
  return direction;
}

// Three hosts, of which the last one was lost on the way, and one direction that is slow.
MatrixOutcome outcome_of_three() {
  MatrixOutcome outcome;
  qualify::MatrixReport& report = outcome.report;
  report.hosts = {{.name = "host-a", .lost = {}},
                  {.name = "host-b", .lost = {}},
                  {.name = "host-c", .lost = "silent for 10 s"}};
  report.rounds = 3;
  report.pairs = {direction_of(0, 1, 1e9), direction_of(1, 0, 2e8), direction_of(0, 2, 0)};
  report.pairs[2].failure = "host-c is lost";
  report.at_once = {direction_of(0, 1, 5e8)};
  report.at_once[0].round = 0;
  report.at_once[0].reads = 0;
  outcome.findings = qualify::analyze_matrix(report);
  outcome.options = {.memory_bytes = 1 << 26, .lanes = 2};
  outcome.launcher = "PMIx";
  outcome.security = "TLS 1.3, pre-shared key";
  return outcome;
}

TEST(MatrixOptionsTest, TimeIsSharedByWritesAndReads) {
  MatrixCliOptions options;
  options.time = "500ms";

  const auto matrix = to_matrix_options(options);

  ASSERT_TRUE(matrix);
  EXPECT_EQ(matrix->write_ms, 300U);
  EXPECT_EQ(matrix->read_ms, 200U);
  EXPECT_GE(matrix->lanes, 1U);
}

TEST(MatrixOptionsTest, NumbersHaveToFitEachOther) {
  for (const char* time : {"10ms", "1h", "11min"}) {
    MatrixCliOptions options;
    options.time = time;
    EXPECT_FALSE(to_matrix_options(options)) << time;
  }
  MatrixCliOptions options;
  options.lanes = 16;
  EXPECT_TRUE(to_matrix_options(options)) << "4 MiB for each of 16 lanes";
  options.lanes = 17;
  EXPECT_FALSE(to_matrix_options(options));
}

TEST(MatrixHosts, AreAddressesOfWhichNoneComesTwice) {
  MatrixCliOptions options;
  options.hosts = {"host-a", "host-b:99"};
  const auto hosts = named_hosts(options);
  ASSERT_TRUE(hosts);
  EXPECT_EQ(hosts->at(0).addresses, (std::vector<std::string>{"host-a:7473"}));
  EXPECT_EQ(hosts->at(1).name, "host-b:99");

  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"host-a"},
                                                {"host-a", "host-a:7473"},
                                                {"host-a", ""},
                                                {"host-a", "host-b:"}}) {
    options.hosts = wrong;
    EXPECT_FALSE(named_hosts(options));
  }
}

TEST(JobCard, TellsTheOthersWhatItWasMadeOf) {
  const ServingHost host{
      .name = "n1", .addresses = {"10.0.0.1:99", "[2001:db8::1]:99"}, .lost = {}};

  const auto read = decode_job_card(encode_job_card(host));

  ASSERT_TRUE(read);
  EXPECT_EQ(read->name, "n1");
  EXPECT_EQ(read->addresses, host.addresses);
  EXPECT_TRUE(read->lost.empty());
}

TEST(JobCard, HasOnlyWhatLaunchersCarry) {
  ServingHost host{.name = "a b;c=d|e,f\n",
                   .addresses = {},
                   .lost = "no RDMA device: " + std::string(2000, 'x')};
  host.addresses.assign(100, "[2001:db8:1111:2222:3333:4444:5555:6666]:65535");

  const std::string card = encode_job_card(host);

  EXPECT_LE(card.size(), kJobTextBytesMax);
  EXPECT_EQ(card.find_first_of(" ;=\n"), std::string::npos);
  const auto read = decode_job_card(card);
  ASSERT_TRUE(read);
  EXPECT_GE(read->addresses.size(), 10U);
  EXPECT_LE(read->addresses.size(), kPeerAddressesMax);
  EXPECT_TRUE(read->lost.starts_with("no RDMA device:"));
}

TEST(JobCard, WhatIsNoneIsAnError) {
  for (const char* text : {"", "n1", "n1|", "n1||", "n1|a|b|c"})
    EXPECT_FALSE(decode_job_card(text)) << text;
}

TEST(JobCard, NamesThatSeveralHaveGetTheRank) {
  std::vector<ServingHost> hosts(3);
  hosts[0].name = "n1";
  hosts[1].name = "n2";
  hosts[2].name = "n1";

  make_names_unique(hosts);

  EXPECT_EQ(hosts[0].name, "n1/0");
  EXPECT_EQ(hosts[1].name, "n2");
  EXPECT_EQ(hosts[2].name, "n1/2");
}

TEST(JobKey, IsReadAsAKeyFileIs) {
  const auto key = new_job_key();
  ASSERT_TRUE(key);
  EXPECT_NE(*key, new_job_key().value());
  const auto file = JobKeyFile::make(*key);
  ASSERT_TRUE(file);

  const auto read = read_pre_shared_key(file->path());

  ASSERT_TRUE(read) << to_string(read.error());
  EXPECT_EQ(read->key.size(), 32U);
}

TEST(MatrixText, ShowsTheSquareAndWhatStandsOut) {
  const std::string text = render_matrix_text(outcome_of_three());

  EXPECT_NE(text.find("  1 host-a        .    1.000        -\n"), std::string::npos) << text;
  EXPECT_NE(text.find("  2 host-b    0.200        .        -\n"), std::string::npos) << text;
  EXPECT_NE(text.find("20/35"), std::string::npos) << text;
  EXPECT_NE(text.find("! host-c is lost: silent for 10 s\n"), std::string::npos) << text;
  EXPECT_NE(text.find("! host-b -> host-a is slow: 200 MB/s"), std::string::npos) << text;
  EXPECT_NE(text.find("each 50 % (median) of its rate alone"), std::string::npos) << text;
}

TEST(MatrixText, ManyHostsGetALineEach) {
  MatrixOutcome outcome = outcome_of_three();
  outcome.report.hosts.resize(20, {.name = "more", .lost = {}});

  const std::string text = render_matrix_text(outcome);

  EXPECT_NE(text.find("  1 host-a    1.000    1.000    0.200    0.200     20.0\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find(" 20 more"), std::string::npos) << text;
}

TEST(MatrixText, EveryKindOfFindingNamesItsHosts) {
  const qualify::MatrixReport report = outcome_of_three().report;
  for (int kind = 1; kind < static_cast<int>(qualify::FindingKind::kContention); ++kind) {
    const std::string text = describe_finding({.kind = static_cast<qualify::FindingKind>(kind),
                                               .from = 1,
                                               .to = 1,
                                               .value = 1,
                                               .usual = 2},
                                              report);
    EXPECT_NE(text.find("host-b"), std::string::npos) << text;
  }
}

TEST(MatrixJson, HasWhatIsDocumented) {
  const auto json = nlohmann::json::parse(render_matrix_json(outcome_of_three()));

  EXPECT_EQ(json.at("schema"), 1);
  EXPECT_EQ(json.at("launcher"), "PMIx");
  EXPECT_EQ(json.at("complete"), false);
  EXPECT_EQ(json.at("hosts").at(2).at("lost"), "silent for 10 s");
  EXPECT_EQ(json.at("hosts").at(0).at("lost"), nullptr);
  const auto& pair = json.at("pairs").at(1);
  EXPECT_EQ(pair.at("from"), "host-b");
  EXPECT_EQ(pair.at("to"), "host-a");
  EXPECT_EQ(pair.at("bytes_per_s"), 2e8);
  EXPECT_EQ(pair.at("read_p99_us"), 35);
  EXPECT_EQ(pair.at("line_rate_share"), nullptr);
  EXPECT_EQ(json.at("pairs").at(2).at("bytes_per_s"), nullptr);
  EXPECT_EQ(json.at("pairs").at(2).at("failure"), "host-c is lost");
  EXPECT_EQ(json.at("at_once").at(0).at("round"), nullptr);
  EXPECT_EQ(json.at("at_once").at(0).at("read_p50_us"), nullptr);
  EXPECT_EQ(json.at("findings").at(0).at("kind"), "slow_link");
  EXPECT_EQ(json.at("findings").at(0).at("from"), "host-b");
}

TEST(MatrixCsv, EveryLineHasEveryColumn) {
  const std::string csv = render_matrix_csv(outcome_of_three());

  EXPECT_TRUE(csv.starts_with("phase,from,to,round,failure,"));
  EXPECT_NE(csv.find("\npairs,\"host-a\",\"host-c\",1,\"host-c is lost\","), std::string::npos)
      << csv;
  EXPECT_NE(csv.find("\nat_once,\"host-a\",\"host-b\",,,"), std::string::npos) << csv;
  const auto columns =
      std::count(csv.begin(), csv.begin() + static_cast<long>(csv.find('\n')), ',');
  EXPECT_EQ(std::ranges::count(csv, ','), columns * 5);
}

}  // namespace
}  // namespace godwit::cli
