// SPDX-License-Identifier: Apache-2.0
//
// What follows from the numbers of a bench: figures made of others, and what a person should know.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/qualify/bench_report.h"

namespace godwit::cli {

// A result below this share of the line rate is flagged.
inline constexpr double kLineRateShareMin = 0.8;

// Of the payload in what the slower ends of the cell's paths could carry; nothing where one of them
// has no line rate.
std::optional<double> share_of_line_rate(const qualify::BandwidthResult& result,
                                         const qualify::BenchReport& report);

double cpu_s_per_gb(const qualify::Bandwidth& bandwidth, double cpu_s);

// Half the confidence interval, as a share of the middle; 1 where it is not known.
double relative_half_width(const qualify::Bandwidth& bandwidth);
double relative_half_width(const qualify::Latency& latency);

// In sentences, the most important first.
std::vector<std::string> find_findings(const qualify::BenchReport& report);

}  // namespace godwit::cli
