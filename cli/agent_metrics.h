// SPDX-License-Identifier: Apache-2.0
//
// What an agent tells of itself to whoever reads its metrics (docs/metrics.md): what it does writes
// a few numbers down here, and the reader takes a copy. Nobody waits for anybody for longer than
// that takes.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cli/agent_options.h"
#include "cli/metrics_server.h"
#include "cli/openmetrics.h"
#include "engine/relay/stream_traffic.h"
#include "engine/report.h"
#include "engine/session/session_record.h"

namespace godwit::cli {

// Of `godwit send` and `godwit receive`. Thread: any.
class MigrationMetrics {
 public:
  explicit MigrationMetrics(SessionRole role) : role_(role) {}

  void set_session(const std::string& session, const std::string& peer);
  void set_state(std::string_view state);
  void set_progress(const Progress& progress);
  std::vector<MetricFamily> collect() const;

 private:
  const SessionRole role_;
  mutable std::mutex mutex_;
  std::string session_;
  std::string peer_;
  std::string state_;
  std::optional<Progress> pre_copy_;  // the last of each, switchover included
  std::optional<Progress> post_copy_;
};

// Of `godwit relay`. Thread: any.
class RelayMetrics {
 public:
  // `counters` last until the stream has ended, and are what it is known by.
  void stream_began(const relay::StreamCounters& counters);
  void stream_ended(const relay::StreamCounters& counters,
                    const Result<relay::StreamTraffic>& traffic);
  void stream_refused();
  std::vector<MetricFamily> collect() const;

 private:
  mutable std::mutex mutex_;
  std::set<const relay::StreamCounters*> running_;
  uint64_t ended_ = 0;
  uint64_t broken_ = 0;
  uint64_t refused_ = 0;
  relay::StreamTraffic traffic_;  // of those that have ended
};

// Of `godwit bench serve`. Thread: any.
class BenchMetrics {
 public:
  void bench_began();
  void bench_ended(const Status& served);
  void bench_turned_away();
  std::vector<MetricFamily> collect() const;

 private:
  mutable std::mutex mutex_;
  bool running_ = false;
  uint64_t completed_ = 0;
  uint64_t broken_ = 0;
  uint64_t turned_away_ = 0;
};

void add_metrics_option(CLI::App& command, AgentOptions& options);

// Begins to serve what `collect` returns, and what every process has, as --metrics says; null
// without that. Says on stderr where. An agent that takes the place of a dead one goes without
// rather than not at all. Errors: kRefused when nothing can listen there.
Result<std::unique_ptr<MetricsServer>> serve_metrics(const AgentOptions& options,
                                                     MetricsServer::Collect collect);

}  // namespace godwit::cli
