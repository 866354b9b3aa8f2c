// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_json.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/bench_findings.h"
#include "cli/version.h"

namespace godwit::cli {
namespace {

using Json = nlohmann::ordered_json;
using qualify::BandwidthResult;
using qualify::BenchReport;
using qualify::Cell;
using qualify::LatencyResult;

Json number_or_null(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json node_or_null(int node) {
  return node == qualify::kAnyNode ? Json(nullptr) : Json(node);
}

Json link_json(const LinkDescription& link) {
  return {{"device", link.device},
          {"line_rate_bits_per_s",
           link.line_rate_bits_per_s > 0 ? Json(link.line_rate_bits_per_s) : Json(nullptr)},
          {"mtu_bytes", link.mtu_bytes > 0 ? Json(link.mtu_bytes) : Json(nullptr)},
          {"suspicions", link.suspicions}};
}

Json paths_json(const BenchReport& report) {
  Json list = Json::array();
  for (size_t i = 0; i < report.paths.size(); ++i) {
    const qualify::PathReport& path = report.paths[i];
    list.push_back({{"rail", path.rail},
                    {"transport", path.transport},
                    {"numa_node", node_or_null(path.numa_node)},
                    {"peer_rail", path.peer_rail},
                    {"peer_address", path.peer_address},
                    {"peer_numa_node", node_or_null(path.peer_numa_node)},
                    {"link", link_json(path.link)},
                    {"peer_link", link_json(path.peer_link)},
                    {"registration_s_per_gib", report.registration_s_per_gib[i]}});
  }
  return list;
}

std::vector<std::string> rails_of(const Cell& cell, const BenchReport& report) {
  std::vector<std::string> names;
  for (const size_t path : cell.paths) names.push_back(report.paths[path].rail);
  return names;
}

Json cell_json(const Cell& cell, const BenchReport& report) {
  return {{"verb", to_string(cell.verb)},
          {"size_bytes", cell.size_bytes},
          {"lanes", cell.lanes},
          {"depth", cell.depth},
          {"rails", rails_of(cell, report)},
          {"memory_node", node_or_null(cell.memory_node)},
          {"peer_memory_node", node_or_null(cell.peer_memory_node)}};
}

Json bandwidth_json(const BandwidthResult& result, const BenchReport& report) {
  const qualify::Bandwidth& found = result.bandwidth;
  const auto share = share_of_line_rate(result, report);
  Json json = cell_json(result.cell, report);
  json.update({{"bytes_per_s", found.bytes_per_s},
               {"half_width_bytes_per_s", number_or_null(found.half_width_bytes_per_s)},
               {"min_100ms_bytes_per_s", found.min_100ms_bytes_per_s},
               {"confidence", to_string(found.confidence)},
               {"line_rate_share", share ? Json(*share) : Json(nullptr)},
               {"below_line_rate", share ? Json(*share < kLineRateShareMin) : Json(nullptr)},
               {"cpu_s_per_gb", cpu_s_per_gb(found, found.cpu.here_s)},
               {"peer_cpu_s_per_gb", cpu_s_per_gb(found, found.cpu.there_s)},
               {"other_cpus", found.cpu.others_here},
               {"peer_other_cpus", found.cpu.others_there},
               {"duration_s", found.duration_s},
               {"moved_bytes", found.moved_bytes}});
  return json;
}

Json distribution_json(const std::vector<qualify::LatencyPoint>& points) {
  Json list = Json::array();
  for (const qualify::LatencyPoint& point : points)
    list.push_back(Json::array({point.us, point.share}));
  return list;
}

Json latency_json(const LatencyResult& result, const BenchReport& report) {
  const qualify::Latency& found = result.latency;
  Json json = cell_json(result.cell, report);
  json.update({{"count", found.count},
               {"load", to_string(result.cell.load)},
               {"load_bytes_per_s", result.load_bytes_per_s},
               {"load_moved_bytes", result.load_moved_bytes},
               {"p50_us", found.p50_us},
               {"p90_us", found.p90_us},
               {"p99_us", found.p99_us},
               {"p99_9_us", found.p99_9_us},
               {"max_us", found.max_us},
               {"half_width_us", number_or_null(found.half_width_us)},
               {"confidence", to_string(found.confidence)},
               {"distribution", distribution_json(found.distribution)}});
  return json;
}

constexpr const char* kCsvColumns[] = {"measure",
                                       "verb",
                                       "size_bytes",
                                       "lanes",
                                       "depth",
                                       "rails",
                                       "memory_node",
                                       "peer_memory_node",
                                       "bytes_per_s",
                                       "half_width_bytes_per_s",
                                       "min_100ms_bytes_per_s",
                                       "line_rate_share",
                                       "cpu_s_per_gb",
                                       "peer_cpu_s_per_gb",
                                       "load",
                                       "load_bytes_per_s",
                                       "count",
                                       "p50_us",
                                       "p90_us",
                                       "p99_us",
                                       "p99_9_us",
                                       "max_us",
                                       "half_width_us",
                                       "confidence"};

std::string csv_field(const Json& value) {
  if (value.is_null()) return "";
  if (value.is_array()) {
    std::string joined;
    for (const Json& element : value)
      joined += (joined.empty() ? "" : "+") + element.get<std::string>();
    return joined;
  }
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Names of rails have no commas, and nothing else here could.
std::string csv_line(const std::string& measure, const Json& result) {
  std::string line = measure;
  for (const char* column : kCsvColumns) {
    if (column == kCsvColumns[0]) continue;
    line += ',';
    if (const auto found = result.find(column); found != result.end()) line += csv_field(*found);
  }
  return line + "\n";
}

}  // namespace

std::string render_bench_json(const BenchOutcome& outcome) {
  const BenchReport& report = outcome.report;
  Json bandwidth = Json::array();
  for (const BandwidthResult& result : report.bandwidth)
    bandwidth.push_back(bandwidth_json(result, report));
  Json latency = Json::array();
  for (const LatencyResult& result : report.latency)
    latency.push_back(latency_json(result, report));
  const Json json = {{"schema", kBenchSchema},
                     {"software", kVersion},
                     {"peer", outcome.peer},
                     {"security", outcome.security},
                     {"transport_note", outcome.note},
                     {"duration_s", report.duration_s},
                     {"paths", paths_json(report)},
                     {"bandwidth", bandwidth},
                     {"latency", latency},
                     {"findings", report.findings}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string render_bench_csv(const BenchOutcome& outcome) {
  const BenchReport& report = outcome.report;
  std::string text;
  for (const char* column : kCsvColumns) text += (text.empty() ? "" : ",") + std::string(column);
  text += "\n";
  for (const BandwidthResult& result : report.bandwidth)
    text += csv_line("bandwidth", bandwidth_json(result, report));
  for (const LatencyResult& result : report.latency)
    text += csv_line("latency", latency_json(result, report));
  return text;
}

}  // namespace godwit::cli
