// SPDX-License-Identifier: Apache-2.0
#include "cli/report_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/base/units.h"

namespace godwit::cli {
namespace {

using Json = nlohmann::ordered_json;

Json render_rounds(const std::vector<RoundReport>& rounds) {
  Json list = Json::array();
  for (const RoundReport& round : rounds) {
    list.push_back({{"kind", to_string(round.kind)},
                    {"dirty_pages", round.dirty_pages},
                    {"bytes", round.bytes},
                    {"ms", round.ms},
                    {"pause_ms", round.pause_ms},
                    {"start_ms", round.start_ms}});
  }
  return list;
}

// Over the time since the sample before.
double rate_between(const TimelineSample& before, const TimelineSample& sample) {
  const double elapsed_ms = sample.ms - before.ms;
  if (elapsed_ms <= 0) return 0;
  return static_cast<double>(sample.bytes_sent - before.bytes_sent) / (elapsed_ms / 1e3);
}

Json render_timeline(const MigrationReport& report) {
  const Timeline& timeline = report.timeline;
  Json phases = Json::array();
  for (const Timeline::Phase& phase : timeline.phases)
    phases.push_back({{"state", phase.state}, {"start_ms", phase.start_ms}});
  Json samples = Json::array();
  TimelineSample before{.ms = report.setup_ms};
  for (const TimelineSample& sample : timeline.samples) {
    samples.push_back(
        {{"ms", sample.ms},
         {"round", sample.round},
         {"bytes_sent", sample.bytes_sent},
         {"bytes_remaining", sample.bytes_remaining},
         {"throughput_bytes_per_s", rate_between(before, sample)},
         {"dirty_bytes_per_s", sample.dirty_bytes_per_s},
         {"predicted_downtime_ms", sample.predicted_downtime_ms},
         {"rail_bytes_sent", sample.rail_bytes_sent},
         {"faults", sample.faults},
         {"fault_latency_us", {{"p50", sample.fault_p50_us}, {"p99", sample.fault_p99_us}}}});
    before = sample;
  }
  return {{"phases", phases}, {"samples", samples}};
}

Json render_verify(const std::optional<VerifyReport>& verify) {
  if (!verify) return nullptr;
  return {{"checked_bytes", verify->checked_bytes}, {"mismatches", verify->mismatches}};
}

Json render_error(const std::optional<Error>& error) {
  if (!error) return nullptr;
  std::string code = to_string(error->code);
  std::replace(code.begin(), code.end(), ' ', '-');
  return {{"code", code}, {"text", to_string(*error)}};
}

Json render_rails(const std::vector<RailReport>& rails) {
  Json list = Json::array();
  for (const RailReport& rail : rails) {
    list.push_back({{"name", rail.name},
                    {"transport", rail.transport},
                    {"numa_node", rail.numa_node},
                    {"bytes_sent", rail.bytes_sent},
                    {"helped_bytes", rail.helped_bytes},
                    {"losses", rail.losses},
                    {"slowdowns", rail.slowdowns},
                    {"last_loss", rail.last_loss},
                    {"recovery_ms", rail.recovery_ms}});
  }
  return list;
}

Json render_post_copy(const MigrationReport& report) {
  if (!report.post_copy) return nullptr;
  const PostCopyReport& post_copy = *report.post_copy;
  return {{"predicted_total_ms", report.predicted_total_ms},
          {"missing_bytes", post_copy.missing_bytes},
          {"ms", post_copy.ms},
          {"faults", post_copy.faults},
          {"faults_fetched", post_copy.faults_fetched},
          {"fault_latency_us",
           {{"p50", post_copy.fault_p50_us},
            {"p90", post_copy.fault_p90_us},
            {"p99", post_copy.fault_p99_us},
            {"max", post_copy.fault_max_us}}},
          {"vcpu_stall_ms", post_copy.vcpu_stall_ms},
          {"other_stall_ms", post_copy.other_stall_ms},
          {"fault_urgency", post_copy.fault_urgency},
          {"fault_bytes", post_copy.fault_bytes},
          {"background_bytes", post_copy.background_bytes},
          {"background_pages", post_copy.background_bytes / kBasePageBytes},
          {"zero_pages", post_copy.zero_pages},
          {"reconnects", post_copy.reconnects},
          {"source_waits", post_copy.source_waits}};
}

}  // namespace

std::string render_report_json(const MigrationReport& report, SessionRole role) {
  Json json = {
      {"schema", kReportSchema},
      {"session", report.session},
      {"role", to_string(role)},
      {"status", to_string(report.status)},
      {"mode", report.mode},
      {"transport", report.transport},
      {"transport_note", report.transport_note},
      {"rails", render_rails(report.rails)},
      {"security", report.security},
      {"insecure", report.insecure},
      {"downtime_ms", report.downtime_ms},
      {"predicted_downtime_ms", report.predicted_downtime_ms},
      {"downtime_start_ms", report.downtime_start_ms},
      {"total_ms", report.total_ms},
      {"setup_ms", report.setup_ms},
      {"ram_bytes", report.ram_bytes},
      {"bytes_sent", report.bytes_sent},
      {"placed_bytes", report.placed_bytes},
      {"pages_sent", report.pages_sent},
      {"zero_pages", report.zero_pages},
      {"torn_pages", report.torn_pages},
      {"hole_bytes", report.hole_bytes},
      {"device_state_bytes", report.device_state_bytes},
      {"rounds", render_rounds(report.rounds)},
      {"timeline", render_timeline(report)},
      {"throughput_bytes_per_s", report.throughput_bytes_per_s},
      {"cpu_seconds", report.cpu_seconds},
      {"post_copy", render_post_copy(report)},
      {"post_copy_note", report.post_copy_note},
      {"verify", render_verify(report.verify)},
      {"error", render_error(report.error)},
  };
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

}  // namespace godwit::cli
