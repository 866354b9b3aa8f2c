// SPDX-License-Identifier: Apache-2.0
#include "cli/matrix_json.h"

#include <nlohmann/json.hpp>

#include "cli/matrix_text.h"
#include "cli/version.h"

namespace godwit::cli {
namespace {

using Json = nlohmann::ordered_json;
using qualify::Direction;
using qualify::FindingKind;
using qualify::MatrixFinding;
using qualify::MatrixReport;

Json text_or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json number_if(bool known, double value) {
  return known ? Json(value) : Json(nullptr);
}

Json direction_json(const Direction& direction, const MatrixReport& report) {
  const bool measured = direction.measured();
  const bool read = measured && direction.reads > 0;
  const bool line_rate = measured && direction.line_rate_bytes_per_s > 0;
  return {
      {"from", report.hosts[direction.from].name},
      {"to", report.hosts[direction.to].name},
      {"round", direction.round > 0 ? Json(direction.round) : Json(nullptr)},
      {"failure", text_or_null(direction.failure)},
      {"address", text_or_null(direction.address)},
      {"transport", text_or_null(direction.transport)},
      {"bytes_per_s", number_if(measured, direction.bytes_per_s)},
      {"half_width_bytes_per_s", number_if(measured, direction.half_width_bytes_per_s)},
      {"confidence", measured ? Json(to_string(direction.confidence)) : Json(nullptr)},
      {"line_rate_share",
       line_rate ? Json(direction.bytes_per_s / direction.line_rate_bytes_per_s) : Json(nullptr)},
      {"moved_bytes", direction.moved_bytes},
      {"reads", direction.reads},
      {"read_p50_us", number_if(read, direction.read_p50_us)},
      {"read_p99_us", number_if(read, direction.read_p99_us)}};
}

Json finding_json(const MatrixFinding& finding, const MatrixReport& report) {
  const bool from =
      finding.kind != FindingKind::kSlowReceiver && finding.kind != FindingKind::kContention;
  const bool to =
      finding.kind != FindingKind::kSlowSender && finding.kind != FindingKind::kContention;
  return {{"kind", to_string(finding.kind)},
          {"from", from ? Json(report.hosts[finding.from].name) : Json(nullptr)},
          {"to", to ? Json(report.hosts[finding.to].name) : Json(nullptr)},
          {"value", finding.value},
          {"usual", finding.usual},
          {"text", describe_finding(finding, report)}};
}

Json directions_json(const std::vector<Direction>& directions, const MatrixReport& report) {
  Json list = Json::array();
  for (const Direction& direction : directions) list.push_back(direction_json(direction, report));
  return list;
}

std::string csv_value(const Json& value) {
  if (value.is_null()) return "";
  if (!value.is_string()) return value.dump();
  std::string quoted = "\"";
  for (const char letter : value.get<std::string>()) {
    if (letter == '"') quoted += '"';
    quoted += letter;
  }
  return quoted + "\"";
}

}  // namespace

std::string render_matrix_json(const MatrixOutcome& outcome) {
  const MatrixReport& report = outcome.report;
  Json hosts = Json::array();
  for (const auto& host : report.hosts)
    hosts.push_back({{"name", host.name}, {"lost", text_or_null(host.lost)}});
  Json findings = Json::array();
  for (const MatrixFinding& finding : outcome.findings)
    findings.push_back(finding_json(finding, report));
  const Json json = {{"schema", kMatrixSchema},
                     {"software", kVersion},
                     {"launcher", text_or_null(outcome.launcher)},
                     {"security", outcome.security},
                     {"complete", report.complete()},
                     {"duration_s", report.duration_s},
                     {"lanes", outcome.options.lanes},
                     {"memory_bytes", outcome.options.memory_bytes},
                     {"rounds", report.rounds},
                     {"hosts", hosts},
                     {"median_bytes_per_s", qualify::median_rate(report)},
                     {"median_read_p50_us", qualify::median_read_p50_us(report)},
                     {"pairs", directions_json(report.pairs, report)},
                     {"at_once", directions_json(report.at_once, report)},
                     {"findings", findings}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string render_matrix_csv(const MatrixOutcome& outcome) {
  const MatrixReport& report = outcome.report;
  std::string text = "phase";
  const Json columns = direction_json(Direction(), report);
  for (const auto& [name, value] : columns.items()) text += "," + name;
  text += "\n";
  for (const auto* list : {&report.pairs, &report.at_once}) {
    for (const Direction& direction : *list) {
      text += list == &report.pairs ? "pairs" : "at_once";
      const Json json = direction_json(direction, report);
      for (const auto& [name, value] : json.items()) text += "," + csv_value(value);
      text += "\n";
    }
  }
  return text;
}

}  // namespace godwit::cli
