// SPDX-License-Identifier: Apache-2.0
//
// Metrics as text, for Prometheus and whatever else reads its formats: OpenMetrics 1.0
// (https://github.com/OpenObservability/OpenMetrics), and the older text format for readers that do
// not ask for it. What is measured is somebody else's business: a family is plain data.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace godwit::cli {

enum class MetricType : uint8_t {
  kGauge = 1,
  kCounter,   // samples end in _total
  kInfo,      // samples end in _info, and are 1
  kStateSet,  // a label of the family's name, and 1 for the state that it is in
  kSummary,   // of quantiles, and a _count
};

struct MetricLabel {
  std::string name;
  std::string value;  // any text
};

struct MetricSample {
  double value;
  std::vector<MetricLabel> labels = {};
  std::string suffix = {};  // of a summary: "_count"
};

struct MetricFamily {
  std::string name;  // without _total or _info; ends in the unit, where there is one
  MetricType type;
  std::string unit;  // a base unit: "bytes", "seconds"; empty for none
  std::string help;  // one sentence
  std::vector<MetricSample> samples;
};

enum class Exposition : uint8_t { kOpenMetrics = 1, kPrometheusText = 2 };

// What suits a request with this Accept header.
Exposition choose_exposition(std::string_view accept);
const char* content_type(Exposition exposition);

std::string render_metrics(std::span<const MetricFamily> families, Exposition exposition);

}  // namespace godwit::cli
