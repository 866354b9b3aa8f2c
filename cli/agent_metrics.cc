// SPDX-License-Identifier: Apache-2.0
#include "cli/agent_metrics.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <utility>

#include "cli/console.h"
#include "cli/option_check.h"
#include "cli/version.h"
#include "engine/migration/cpu_time.h"

namespace godwit::cli {
namespace {

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// By the names that all of Prometheus' own libraries use.
void add_process(std::vector<MetricFamily>& families, double started_s) {
  families.push_back(
      {"godwit_build", MetricType::kInfo, "", "The program.", {{1, {{"version", kVersion}}}}});
  families.push_back({"process_cpu_seconds",
                      MetricType::kCounter,
                      "seconds",
                      "CPU time of this agent, user and system, all threads.",
                      {{process_cpu_seconds()}}});
  families.push_back({"process_start_time_seconds",
                      MetricType::kGauge,
                      "seconds",
                      "When the agent began, since 1970.",
                      {{started_s}}});
}

MetricSample outcome(const char* name, uint64_t count) {
  return {static_cast<double>(count), {{"outcome", name}}};
}

void add(relay::StreamTraffic& traffic, const relay::StreamCounters& counters) {
  traffic.sent_bytes += counters.sent_bytes.load(std::memory_order_relaxed);
  traffic.received_bytes += counters.received_bytes.load(std::memory_order_relaxed);
}

}  // namespace

void RelayMetrics::stream_began(const relay::StreamCounters& counters) {
  std::lock_guard lock(mutex_);
  running_.insert(&counters);
}

void RelayMetrics::stream_ended(const relay::StreamCounters& counters,
                                const Result<relay::StreamTraffic>& traffic) {
  std::lock_guard lock(mutex_);
  running_.erase(&counters);
  ++(traffic ? ended_ : broken_);
  add(traffic_, counters);
  if (traffic) traffic_.placed_bytes += traffic->placed_bytes;
}

void RelayMetrics::stream_refused() {
  std::lock_guard lock(mutex_);
  ++refused_;
}

std::vector<MetricFamily> RelayMetrics::collect() const {
  using Type = MetricType;
  std::lock_guard lock(mutex_);
  relay::StreamTraffic traffic = traffic_;
  for (const relay::StreamCounters* counters : running_) add(traffic, *counters);
  return {{"godwit_relay_streams_running",
           Type::kGauge,
           "",
           "Streams that are being carried.",
           {{static_cast<double>(running_.size())}}},
          {"godwit_relay_streams",
           Type::kCounter,
           "",
           "Streams by how they ended; refused: never begun.",
           {outcome("ended", ended_), outcome("broke", broken_), outcome("refused", refused_)}},
          {"godwit_relay_sent_bytes",
           Type::kCounter,
           "bytes",
           "What has left this host.",
           {{static_cast<double>(traffic.sent_bytes)}}},
          {"godwit_relay_received_bytes",
           Type::kCounter,
           "bytes",
           "What has come to this host.",
           {{static_cast<double>(traffic.received_bytes)}}},
          {"godwit_relay_placed_bytes",
           Type::kCounter,
           "bytes",
           "Of those sent, pages put straight into the guest's memory, in streams that have ended.",
           {{static_cast<double>(traffic.placed_bytes)}}}};
}

void BenchMetrics::bench_began() {
  std::lock_guard lock(mutex_);
  running_ = true;
}

void BenchMetrics::bench_ended(const Status& served) {
  std::lock_guard lock(mutex_);
  running_ = false;
  ++(served ? completed_ : broken_);
}

void BenchMetrics::bench_turned_away() {
  std::lock_guard lock(mutex_);
  ++turned_away_;
}

std::vector<MetricFamily> BenchMetrics::collect() const {
  std::lock_guard lock(mutex_);
  return {{"godwit_bench_running",
           MetricType::kGauge,
           "",
           "1 while a bench is being served.",
           {{running_ ? 1.0 : 0.0}}},
          {"godwit_benches",
           MetricType::kCounter,
           "",
           "Benches by how they ended; turned away: another one ran.",
           {outcome("completed", completed_), outcome("broke", broken_),
            outcome("turned-away", turned_away_)}}};
}

void add_metrics_option(CLI::App& command, AgentOptions& options) {
  command
      .add_option("--metrics", options.metrics,
                  "Serve metrics over HTTP at HOST:PORT, or at 127.0.0.1:PORT (docs/metrics.md)")
      ->check(understood_by(parse_metrics_address, "ADDRESS"));
}

Result<std::unique_ptr<MetricsServer>> serve_metrics(const AgentOptions& options,
                                                     MetricsServer::Collect collect) {
  if (options.metrics.empty()) return nullptr;
  auto server = MetricsServer::start(
      options.metrics, [collect = std::move(collect), started_s = seconds_since_1970()] {
        std::vector<MetricFamily> families = collect();
        add_process(families, started_s);
        return families;
      });
  if (!server && !options.resume_session.empty()) {
    say(fmt::format("goes on without metrics: {}", to_string(server.error())));
    return nullptr;
  }
  if (server) say(fmt::format("metrics: {}", (*server)->url()));
  return server;
}

}  // namespace godwit::cli
