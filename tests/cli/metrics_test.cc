// SPDX-License-Identifier: Apache-2.0
//
// Metrics: as text, over HTTP, and from readers that misbehave.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <vector>

#include "cli/agent_metrics.h"
#include "cli/metrics_server.h"
#include "cli/openmetrics.h"
#include "engine/base/unique_fd.h"

namespace godwit::cli {
namespace {

bool contains(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

std::string as_open_metrics(const std::vector<MetricFamily>& families) {
  return render_metrics(families, Exposition::kOpenMetrics);
}

const std::vector<MetricFamily>& one_of_each_kind() {
  static const std::vector<MetricFamily> families = {
      {"a_bytes", MetricType::kCounter, "bytes", "Counts.", {{15, {{"rail", "a\"\\\n"}}}}},
      {"b", MetricType::kInfo, "", "Names.", {{1, {{"version", "1"}}}}},
      {"c", MetricType::kStateSet, "", "States.", {{1, {{"c", "on"}}}, {0, {{"c", "off"}}}}},
      {"d_seconds",
       MetricType::kSummary,
       "seconds",
       "Latency.",
       {{0.00025, {{"quantile", "0.5"}}}, {3, {}, "_count"}}}};
  return families;
}

TEST(OpenMetrics, NamesSamplesByTheirTypes) {
  EXPECT_EQ(as_open_metrics(one_of_each_kind()),
            "# TYPE a_bytes counter\n# UNIT a_bytes bytes\n# HELP a_bytes Counts.\n"
            "a_bytes_total{rail=\"a\\\"\\\\\\n\"} 15\n"
            "# TYPE b info\n# HELP b Names.\nb_info{version=\"1\"} 1\n"
            "# TYPE c stateset\n# HELP c States.\nc{c=\"on\"} 1\nc{c=\"off\"} 0\n"
            "# TYPE d_seconds summary\n# UNIT d_seconds seconds\n# HELP d_seconds Latency.\n"
            "d_seconds{quantile=\"0.5\"} 0.00025\nd_seconds_count 3\n"
            "# EOF\n");
}

TEST(OpenMetrics, HasATextForOlderReaders) {
  const std::string text = render_metrics(one_of_each_kind(), Exposition::kPrometheusText);
  EXPECT_TRUE(contains(text, "# TYPE a_bytes_total counter")) << text;
  EXPECT_TRUE(contains(text, "# TYPE b_info gauge")) << text;
  EXPECT_TRUE(contains(text, "# TYPE c gauge")) << text;
  EXPECT_EQ(text.find("# UNIT"), std::string::npos);
  EXPECT_EQ(text.find("# EOF"), std::string::npos);
}

TEST(OpenMetrics, IsGivenToWhoAsksForIt) {
  EXPECT_EQ(choose_exposition("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"),
            Exposition::kOpenMetrics);
  EXPECT_EQ(choose_exposition("text/plain"), Exposition::kPrometheusText);
  EXPECT_EQ(choose_exposition(""), Exposition::kPrometheusText);
}

TEST(MigrationMetrics, SayWhereAMigrationIs) {
  MigrationMetrics metrics(SessionRole::kSource);
  metrics.set_session("00c0ffee00c0ffee", "192.0.2.2:7471");
  metrics.set_state("precopy");
  metrics.set_progress(
      {.phase = "pre-copy",
       .bytes_sent = 3000,
       .bytes_remaining = 1000,
       .predicted_downtime_ms = 12.5,
       .round = 2,
       .rails = {{.name = "tcp", .transport = "tcp", .bytes_sent = 3000, .losses = 1}}});

  const std::string text = as_open_metrics(metrics.collect());

  for (const char* line :
       {"godwit_migration_info{session=\"00c0ffee00c0ffee\",role=\"source\",peer=\"192.0.2.2:"
        "7471\"} 1",
        "godwit_migration_state{godwit_migration_state=\"precopy\"} 1",
        "godwit_migration_state{godwit_migration_state=\"committed\"} 0",
        "godwit_migration_sent_bytes_total 3000", "godwit_migration_remaining_bytes 1000",
        "godwit_migration_predicted_downtime_seconds 0.0125", "godwit_migration_round 2",
        "godwit_rail_sent_bytes_total{rail=\"tcp\",transport=\"tcp\",numa_node=\"\"} 3000",
        "godwit_rail_losses_total{rail=\"tcp\",transport=\"tcp\",numa_node=\"\"} 1"}) {
    EXPECT_TRUE(contains(text, line)) << line << "\n" << text;
  }
  EXPECT_EQ(text.find("page_fault"), std::string::npos);
}

TEST(MigrationMetrics, KeepWhatWasSentApartFromWhatIsFetchedInPostCopy) {
  MigrationMetrics metrics(SessionRole::kSource);
  metrics.set_progress({.phase = "switchover", .bytes_sent = 3000, .bytes_remaining = 0});
  metrics.set_state("post-copy");
  metrics.set_progress({.phase = "post-copy",
                        .bytes_sent = 500,
                        .bytes_remaining = 70,
                        .faults = 7,
                        .fault_p50_us = 40,
                        .fault_p99_us = 250,
                        .reconnects = 2});

  const std::string text = as_open_metrics(metrics.collect());

  for (const char* line :
       {"godwit_migration_sent_bytes_total 3000", "godwit_migration_fetched_bytes_total 500",
        "godwit_migration_remaining_bytes 70",
        "godwit_migration_page_fault_latency_seconds{quantile=\"0.99\"} 0.00025",
        "godwit_migration_page_fault_latency_seconds_count 7",
        "godwit_migration_reconnects_total 2"}) {
    EXPECT_TRUE(contains(text, line)) << line << "\n" << text;
  }
}

TEST(RelayMetrics, CountStreamsByHowTheyEnded) {
  RelayMetrics metrics;
  std::array<relay::StreamCounters, 3> counters;
  for (const relay::StreamCounters& stream : counters) metrics.stream_began(stream);
  for (relay::StreamCounters& stream : counters) stream.sent_bytes = 10;
  metrics.stream_ended(counters[0], relay::StreamTraffic{.sent_bytes = 10, .placed_bytes = 4});
  metrics.stream_ended(counters[1], tl::unexpected<Error>(fail(Errc::kPeerLost, "gone").value()));
  counters[0].sent_bytes = counters[1].sent_bytes = 0;
  metrics.stream_refused();

  const std::string text = as_open_metrics(metrics.collect());

  for (const char* line :
       {"godwit_relay_streams_running 1", "godwit_relay_streams_total{outcome=\"ended\"} 1",
        "godwit_relay_streams_total{outcome=\"broke\"} 1",
        "godwit_relay_streams_total{outcome=\"refused\"} 1", "godwit_relay_sent_bytes_total 30",
        "godwit_relay_placed_bytes_total 4"}) {
    EXPECT_TRUE(contains(text, line)) << line << "\n" << text;
  }
}

TEST(BenchMetrics, CountBenchesByHowTheyEnded) {
  BenchMetrics metrics;
  metrics.bench_began();
  metrics.bench_turned_away();
  EXPECT_TRUE(contains(as_open_metrics(metrics.collect()), "godwit_bench_running 1"));
  metrics.bench_ended({});

  const std::string text = as_open_metrics(metrics.collect());

  for (const char* line :
       {"godwit_bench_running 0", "godwit_benches_total{outcome=\"completed\"} 1",
        "godwit_benches_total{outcome=\"turned-away\"} 1"}) {
    EXPECT_TRUE(contains(text, line)) << line << "\n" << text;
  }
}

std::unique_ptr<MetricsServer> serve(const std::string& address = "0") {
  auto server = MetricsServer::start(address, [] { return one_of_each_kind(); });
  EXPECT_TRUE(server) << to_string(server.error());
  return std::move(*server);
}

uint16_t port_of(const MetricsServer& server) {
  const std::string& url = server.url();
  return static_cast<uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
}

UniqueFd connect_to(const MetricsServer& server) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port_of(server));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  // SAFETY: sockaddr_in is made to be passed as the address that begins with its family.
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
            0);
  return socket;
}

std::string ask(const MetricsServer& server, const std::string& request) {
  const UniqueFd socket = connect_to(server);
  EXPECT_EQ(::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(request.size()));
  std::string answer;
  char piece[4096];
  for (ssize_t got; (got = ::recv(socket.get(), piece, sizeof piece, 0)) > 0;)
    answer.append(piece, static_cast<size_t>(got));
  return answer;
}

TEST(MetricsServer, AnswersInTheFormatThatIsAskedFor) {
  const auto server = serve();

  const std::string open = ask(*server,
                               "GET /metrics HTTP/1.1\r\nHost: a\r\n"
                               "Accept: application/openmetrics-text; version=1.0.0\r\n\r\n");
  const std::string older = ask(*server, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");

  EXPECT_NE(open.find("200 OK"), std::string::npos) << open;
  EXPECT_NE(open.find("Content-Type: application/openmetrics-text; version=1.0.0"),
            std::string::npos)
      << open;
  EXPECT_TRUE(open.ends_with(as_open_metrics(one_of_each_kind()))) << open;
  EXPECT_NE(older.find("Content-Type: text/plain; version=0.0.4"), std::string::npos) << older;
}

TEST(MetricsServer, HasNothingElse) {
  const auto server = serve();
  EXPECT_NE(ask(*server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").find("404"), std::string::npos);
  EXPECT_NE(
      ask(*server, "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").find("404"),
      std::string::npos);
  EXPECT_EQ(ask(*server, std::string(100'000, 'x') + "\r\n\r\n").find("200 OK"), std::string::npos);
}

// Whose connection would keep the only thread for ever, if it had no deadline.
TEST(MetricsServer, AnswersOthersAfterAReaderThatSaysNothing) {
  const auto server = serve();
  const UniqueFd silent = connect_to(*server);
  EXPECT_NE(ask(*server, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").find("200 OK"),
            std::string::npos);
}

// The connections are closed by its end: a reader that waits sees that, and no end is waited for.
TEST(MetricsServer, EndsWhileReadersHaveConnections) {
  auto server = serve();
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 4; ++i) silent.push_back(connect_to(*server));
  server.reset();
  for (const UniqueFd& socket : silent) {
    char byte;
    EXPECT_LE(::recv(socket.get(), &byte, 1, 0), 0);
  }
}

TEST(MetricsServer, RefusesAnAddressThatIsTaken) {
  const auto server = serve();
  const std::string taken = "127.0.0.1:" + std::to_string(port_of(*server));

  const auto second = MetricsServer::start(taken, [] { return one_of_each_kind(); });

  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kRefused);
  EXPECT_NE(to_string(second.error()).find("in use"), std::string::npos)
      << to_string(second.error());
}

// A guest that waits for its memory is worth more than being watched.
TEST(ServeMetrics, KeepsNoAgentFromTakingTheDeadOnesPlace) {
  const auto server = serve();
  AgentOptions options;
  options.metrics = "127.0.0.1:" + std::to_string(port_of(*server));
  const auto nothing = [] { return std::vector<MetricFamily>(); };
  EXPECT_FALSE(serve_metrics(options, nothing));

  options.resume_session = "00c0ffee00c0ffee";
  const auto without = serve_metrics(options, nothing);

  ASSERT_TRUE(without) << to_string(without.error());
  EXPECT_EQ(*without, nullptr);
}

TEST(MetricsServer, TakesAPortAloneForLoopback) {
  EXPECT_EQ(*parse_metrics_address("9471"), "127.0.0.1:9471");
  EXPECT_EQ(*parse_metrics_address("[::1]:9471"), "[::1]:9471");
  EXPECT_FALSE(parse_metrics_address("host"));
  EXPECT_FALSE(parse_metrics_address(""));
}

}  // namespace
}  // namespace godwit::cli
