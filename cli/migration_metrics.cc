// SPDX-License-Identifier: Apache-2.0
//
// What docs/metrics.md documents, of a migration.
#include <fmt/core.h>

#include "cli/agent_metrics.h"
#include "engine/migration/states.h"

namespace godwit::cli {
namespace {

using Type = MetricType;

template <typename State>
std::vector<MetricSample> state_samples(std::string_view current) {
  std::vector<MetricSample> samples;
  for (uint8_t value = 1; value < static_cast<uint8_t>(State::kEnd); ++value) {
    const std::string name = to_string(static_cast<State>(value));
    samples.push_back({name == current ? 1.0 : 0.0, {{"godwit_migration_state", name}}});
  }
  return samples;
}

double in_seconds(double microseconds) {
  return microseconds / 1e6;
}

void add_value(std::vector<MetricFamily>& families, const char* name, Type type, const char* unit,
               const char* help, double value) {
  families.push_back({name, type, unit, help, {{value}}});
}

void add_progress(std::vector<MetricFamily>& families, const Progress& now) {
  add_value(families, "godwit_migration_remaining_bytes", Type::kGauge, "bytes",
            "Guest memory that is still to travel, as far as is known.",
            static_cast<double>(now.bytes_remaining));
  add_value(families, "godwit_migration_throughput_bytes_per_second", Type::kGauge,
            "bytes_per_second", "Payload of all lanes, on average since the first page left.",
            now.throughput_bytes_per_s);
}

void add_pre_copy(std::vector<MetricFamily>& families, const Progress& now) {
  add_value(families, "godwit_migration_memory_bytes", Type::kGauge, "bytes",
            "Size of the guest's memory.", static_cast<double>(now.ram_bytes));
  add_value(families, "godwit_migration_sent_bytes", Type::kCounter, "bytes",
            "Payload that all lanes have sent, pages sent again included.",
            static_cast<double>(now.bytes_sent));
  add_value(families, "godwit_migration_round", Type::kGauge, "",
            "The pass over dirty pages that is under way, from 1.", now.round);
  add_value(families, "godwit_migration_dirty_bytes_per_second", Type::kGauge, "bytes_per_second",
            "How fast the guest dirtied memory before the last scan.", now.dirty_bytes_per_s);
  add_value(families, "godwit_migration_predicted_downtime_seconds", Type::kGauge, "seconds",
            "How long the guest would stand still if it were handed over now.",
            now.predicted_downtime_ms / 1e3);
  add_value(families, "godwit_migration_torn_pages", Type::kCounter, "",
            "Pages that the guest wrote while they travelled, sent again.",
            static_cast<double>(now.torn_pages));
}

void add_rails(std::vector<MetricFamily>& families, const std::vector<RailReport>& rails) {
  if (rails.empty()) return;
  MetricFamily sent{"godwit_rail_sent_bytes",
                    Type::kCounter,
                    "bytes",
                    "Payload that a rail's lanes have sent.",
                    {}};
  MetricFamily helped{"godwit_rail_helped_bytes",
                      Type::kCounter,
                      "bytes",
                      "Of these, pages that another rail is nearer to.",
                      {}};
  MetricFamily losses{"godwit_rail_losses",
                      Type::kCounter,
                      "",
                      "Lanes of a rail that were lost, and attempts to open one.",
                      {}};
  MetricFamily slowdowns{"godwit_rail_slowdowns",
                         Type::kCounter,
                         "",
                         "How often a lane of a rail became much slower than it had been.",
                         {}};
  for (const RailReport& rail : rails) {
    const std::vector<MetricLabel> labels = {
        {"rail", rail.name},
        {"transport", rail.transport},
        {"numa_node", rail.numa_node < 0 ? std::string() : fmt::format("{}", rail.numa_node)}};
    sent.samples.push_back({static_cast<double>(rail.bytes_sent), labels});
    helped.samples.push_back({static_cast<double>(rail.helped_bytes), labels});
    losses.samples.push_back({static_cast<double>(rail.losses), labels});
    slowdowns.samples.push_back({static_cast<double>(rail.slowdowns), labels});
  }
  families.insert(families.end(), {sent, helped, losses, slowdowns});
}

void add_post_copy(std::vector<MetricFamily>& families, const Progress& now) {
  add_value(families, "godwit_migration_fetched_bytes", Type::kCounter, "bytes",
            "Guest memory that the destination has fetched in post-copy.",
            static_cast<double>(now.bytes_sent));
  families.push_back({"godwit_migration_page_fault_latency_seconds",
                      Type::kSummary,
                      "seconds",
                      "From a page fault in post-copy to the page being within reach.",
                      {{in_seconds(now.fault_p50_us), {{"quantile", "0.5"}}},
                       {in_seconds(now.fault_p99_us), {{"quantile", "0.99"}}},
                       {static_cast<double>(now.faults), {}, "_count"}}});
  add_value(families, "godwit_migration_reconnects", Type::kCounter, "",
            "Lost connections that were replaced in post-copy.", now.reconnects);
}

}  // namespace

void MigrationMetrics::set_session(const std::string& session, const std::string& peer) {
  std::lock_guard lock(mutex_);
  session_ = session;
  peer_ = peer;
}

void MigrationMetrics::set_state(std::string_view state) {
  std::lock_guard lock(mutex_);
  state_ = state;
}

void MigrationMetrics::set_progress(const Progress& progress) {
  std::lock_guard lock(mutex_);
  (progress.phase == "post-copy" ? post_copy_ : pre_copy_) = progress;
}

std::vector<MetricFamily> MigrationMetrics::collect() const {
  std::lock_guard lock(mutex_);
  std::vector<MetricFamily> families;
  families.push_back({"godwit_migration",
                      Type::kInfo,
                      "",
                      "Which migration this agent works for; no session before there is one.",
                      {{1, {{"session", session_}, {"role", to_string(role_)}, {"peer", peer_}}}}});
  families.push_back({"godwit_migration_state", Type::kStateSet, "",
                      "What the agent does: 1 for the state that it is in.",
                      role_ == SessionRole::kSource ? state_samples<SourceState>(state_)
                                                    : state_samples<DestinationState>(state_)});
  if (post_copy_ || pre_copy_) add_progress(families, post_copy_ ? *post_copy_ : *pre_copy_);
  if (pre_copy_) {
    add_pre_copy(families, *pre_copy_);
    add_rails(families, pre_copy_->rails);
  }
  if (post_copy_) add_post_copy(families, *post_copy_);
  return families;
}

}  // namespace godwit::cli
