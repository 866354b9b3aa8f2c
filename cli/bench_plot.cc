// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_plot.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "cli/bench_text.h"

namespace godwit::cli {
namespace {

using qualify::BenchReport;
using qualify::LatencyResult;
using qualify::Load;
using qualify::Verb;

constexpr size_t kPlotColumns = 64;
// Of those that a distribution has: beyond, a few of the slowest would squeeze all others.
constexpr std::array kPlottedShares = {0.999, 0.99, 0.95, 0.9, 0.8, 0.7, 0.6,
                                       0.5,   0.4,  0.3,  0.2, 0.1, 0.01};
constexpr char kSeveralHere = '*';

char letter_of(const LatencyResult& result) {
  switch (result.cell.verb) {
    case Verb::kWrite:
      return 'w';
    case Verb::kRead:
      return 'r';
    case Verb::kMessage:
      return 'm';
    case Verb::kFault:
      return result.cell.load == Load::kFull ? 'F' : 'f';
  }
  return '?';
}

std::optional<double> latency_at(const LatencyResult& result, double share) {
  for (const qualify::LatencyPoint& point : result.latency.distribution) {
    if (point.share == share && point.us > 0) return point.us;
  }
  return std::nullopt;
}

std::vector<const LatencyResult*> plotted_results(const BenchReport& report) {
  std::map<std::pair<Verb, Load>, const LatencyResult*> smallest;
  for (const LatencyResult& result : report.latency) {
    if (!latency_at(result, kPlottedShares.front())) continue;
    const LatencyResult*& kept = smallest[{result.cell.verb, result.cell.load}];
    if (kept == nullptr || result.cell.size_bytes < kept->cell.size_bytes) kept = &result;
  }
  std::vector<const LatencyResult*> results;
  for (const auto& [what, result] : smallest) results.push_back(result);
  return results;
}

// From the shortest to the longest latency, each to its column.
class LogarithmicScale {
 public:
  explicit LogarithmicScale(const std::vector<const LatencyResult*>& results) {
    for (const LatencyResult* result : results) {
      for (const double share : kPlottedShares) {
        const double us = latency_at(*result, share).value_or(0);
        if (us <= 0) continue;
        least_us_ = least_us_ == 0 ? us : std::min(least_us_, us);
        most_us_ = std::max(most_us_, us);
      }
    }
  }

  double least_us() const { return least_us_; }
  double most_us() const { return most_us_; }

  size_t column(double us) const {
    if (most_us_ <= least_us_) return 0;
    const double share = std::log(us / least_us_) / std::log(most_us_ / least_us_);
    return static_cast<size_t>(std::lround(std::clamp(share, 0.0, 1.0) * (kPlotColumns - 1)));
  }

 private:
  double least_us_ = 0;
  double most_us_ = 0;
};

std::string format_latency(double us) {
  return us < 1000 ? fmt::format("{:g} us", us) : fmt::format("{:g} ms", us / 1000);
}

// 1, 2 and 5 of each power of ten, as far as they have room.
std::string render_scale(const LogarithmicScale& scale) {
  std::string line;
  for (double power = 0.01; power <= scale.most_us(); power *= 10) {
    for (const double step : {1, 2, 5}) {
      const double us = power * step;
      if (us < scale.least_us() || us > scale.most_us()) continue;
      const size_t column = scale.column(us);
      if (column < line.size() + (line.empty() ? 0 : 2)) continue;
      line.resize(column, ' ');
      line += format_latency(us);
    }
  }
  return line;
}

}  // namespace

std::string render_latency_plot(const BenchReport& report) {
  const std::vector<const LatencyResult*> results = plotted_results(report);
  if (results.empty()) return "";
  const LogarithmicScale scale(results);
  std::string text = "\nshare of all that took at most so long\n";
  for (const double share : kPlottedShares) {
    std::string row(kPlotColumns, ' ');
    for (const LatencyResult* result : results) {
      char& place = row[scale.column(latency_at(*result, share).value_or(scale.most_us()))];
      place = place == ' ' ? letter_of(*result) : kSeveralHere;
    }
    row.erase(row.find_last_not_of(' ') + 1);
    text += fmt::format("{:>6.4g}% |{}\n", 100 * share, row);
  }
  text += fmt::format("{:>8}+{}\n{:>9}{}\n", "", std::string(kPlotColumns, '-'), "",
                      render_scale(scale));
  text += fmt::format("{:>8}", "");
  for (const LatencyResult* result : results)
    text += fmt::format(" {} {} {}{} ", letter_of(*result), to_string(result->cell.verb),
                        format_transfer_size(result->cell.size_bytes),
                        result->cell.load == Load::kFull ? " under full load" : "");
  text.erase(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

}  // namespace godwit::cli
