// SPDX-License-Identifier: Apache-2.0
#include "cli/openmetrics.h"

#include <fmt/core.h>

#include "engine/base/check.h"

namespace godwit::cli {
namespace {

// The older format has neither infos nor state sets.
const char* type_name(MetricType type, Exposition exposition) {
  const bool older = exposition == Exposition::kPrometheusText;
  switch (type) {
    case MetricType::kGauge:
      return "gauge";
    case MetricType::kCounter:
      return "counter";
    case MetricType::kInfo:
      return older ? "gauge" : "info";
    case MetricType::kStateSet:
      return older ? "gauge" : "stateset";
    case MetricType::kSummary:
      return "summary";
  }
  CHECK(false && "a MetricType outside its enumerators");
}

const char* suffix_of(MetricType type) {
  if (type == MetricType::kCounter) return "_total";
  return type == MetricType::kInfo ? "_info" : "";
}

std::string escape(std::string_view text) {
  std::string escaped;
  for (const char letter : text) {
    if (letter == '\n') {
      escaped += "\\n";
      continue;
    }
    if (letter == '\\' || letter == '"') escaped += '\\';
    escaped += letter;
  }
  return escaped;
}

std::string render_labels(const std::vector<MetricLabel>& labels) {
  if (labels.empty()) return "";
  std::string text;
  for (const MetricLabel& label : labels) {
    text += fmt::format("{}{}=\"{}\"", text.empty() ? "{" : ",", label.name, escape(label.value));
  }
  return text + "}";
}

std::string render_family(const MetricFamily& family, Exposition exposition) {
  const char* suffix = suffix_of(family.type);
  const bool older = exposition == Exposition::kPrometheusText;
  // There the samples' own name is what has a type.
  const std::string name = older ? family.name + suffix : family.name;
  std::string text = fmt::format("# TYPE {} {}\n", name, type_name(family.type, exposition));
  if (!older && !family.unit.empty()) text += fmt::format("# UNIT {} {}\n", name, family.unit);
  text += fmt::format("# HELP {} {}\n", name, family.help);
  for (const MetricSample& sample : family.samples) {
    text += fmt::format("{}{}{}{} {}\n", family.name, suffix, sample.suffix,
                        render_labels(sample.labels), sample.value);
  }
  return text;
}

}  // namespace

Exposition choose_exposition(std::string_view accept) {
  return accept.find("application/openmetrics-text") != std::string_view::npos
             ? Exposition::kOpenMetrics
             : Exposition::kPrometheusText;
}

const char* content_type(Exposition exposition) {
  return exposition == Exposition::kOpenMetrics
             ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
             : "text/plain; version=0.0.4; charset=utf-8";
}

std::string render_metrics(std::span<const MetricFamily> families, Exposition exposition) {
  std::string text;
  for (const MetricFamily& family : families) text += render_family(family, exposition);
  if (exposition == Exposition::kOpenMetrics) text += "# EOF\n";
  return text;
}

}  // namespace godwit::cli
