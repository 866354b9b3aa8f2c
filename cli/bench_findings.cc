// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_findings.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "cli/bench_text.h"
#include "cli/units.h"

namespace godwit::cli {
namespace {

using qualify::BandwidthResult;
using qualify::BenchReport;
using qualify::Confidence;

// Of other work, from which on it is worth mentioning.
constexpr double kOtherCpusMuch = 0.1;

double relative(double half_width, double middle) {
  if (!(middle > 0) || !std::isfinite(half_width)) return 1;
  return half_width / middle;
}

// The fastest of all: what the way can do, if any does it.
const BandwidthResult* fastest(const BenchReport& report) {
  const auto best = std::ranges::max_element(
      report.bandwidth, {}, [](const auto& result) { return result.bandwidth.bytes_per_s; });
  return best == report.bandwidth.end() ? nullptr : &*best;
}

void suspect_node(const char* where, int memory_node, int device_node,
                  std::vector<std::string>& causes) {
  if (memory_node < 0 || device_node < 0 || memory_node == device_node) return;
  causes.push_back(fmt::format("{}, memory lies on NUMA node {} and the device on node {}", where,
                               memory_node, device_node));
}

void find_slow_link(const BenchReport& report, std::vector<std::string>& findings) {
  const BandwidthResult* best = fastest(report);
  if (best == nullptr) return;
  const auto share = share_of_line_rate(*best, report);
  if (!share || *share >= kLineRateShareMin) return;
  std::vector<std::string> causes;
  for (const size_t path : best->cell.paths) {
    suspect_node("here", best->cell.memory_node, report.paths[path].numa_node, causes);
    suspect_node("there", best->cell.peer_memory_node, report.paths[path].peer_numa_node, causes);
    for (const std::string& suspicion : report.paths[path].link.suspicions)
      causes.push_back("here, " + suspicion);
    for (const std::string& suspicion : report.paths[path].peer_link.suspicions)
      causes.push_back("there, " + suspicion);
  }
  findings.push_back(fmt::format("at most {:.0f} % of the line rate was reached; {}", 100 * *share,
                                 causes.empty()
                                     ? "nothing that was looked at explains it"
                                     : fmt::format("likely: {}", fmt::join(causes, "; "))));
}

// What else kept the hosts busy, if it was much. On one host, each end is no other work to the
// other.
std::string describe_others(const BenchReport& report) {
  const bool same_host = report.paths.front().link.device == "lo";
  double here = 0;
  double there = 0;
  for (const BandwidthResult& result : report.bandwidth) {
    const qualify::CpuUse& cpu = result.bandwidth.cpu;
    here += cpu.others_here - (same_host ? cpu.there_s / cpu.elapsed_s : 0);
    there += cpu.others_there - (same_host ? cpu.here_s / cpu.elapsed_s : 0);
  }
  const auto count = static_cast<double>(report.bandwidth.size());
  if (std::max(here, there) / count < kOtherCpusMuch) return "";
  return fmt::format("; other work took {:.1f} CPUs here and {:.1f} there", here / count,
                     there / count);
}

// The share of the results that say little.
void find_noise(const BenchReport& report, std::vector<std::string>& findings) {
  size_t noisy = 0;
  for (const auto& result : report.bandwidth)
    noisy += result.bandwidth.confidence == Confidence::kNoisy ? 1 : 0;
  for (const auto& result : report.latency)
    noisy += result.latency.confidence == Confidence::kNoisy ? 1 : 0;
  if (noisy == 0) return;
  findings.push_back(
      fmt::format("{} of {} results vary so much that they say little (marked ?): measure longer "
                  "(--time), or on machines with nothing else to do{}",
                  noisy, report.bandwidth.size() + report.latency.size(), describe_others(report)));
}

}  // namespace

std::optional<double> share_of_line_rate(const BandwidthResult& result, const BenchReport& report) {
  double line_bytes_per_s = 0;
  for (const size_t path : result.cell.paths) {
    const uint64_t here = report.paths[path].link.line_rate_bits_per_s;
    const uint64_t there = report.paths[path].peer_link.line_rate_bits_per_s;
    if (here == 0 || there == 0) return std::nullopt;
    line_bytes_per_s += static_cast<double>(std::min(here, there)) / 8;
  }
  if (line_bytes_per_s == 0) return std::nullopt;
  return result.bandwidth.bytes_per_s / line_bytes_per_s;
}

double cpu_s_per_gb(const qualify::Bandwidth& bandwidth, double cpu_s) {
  if (bandwidth.moved_bytes == 0) return 0;
  return cpu_s / (static_cast<double>(bandwidth.moved_bytes) / 1e9);
}

double relative_half_width(const qualify::Bandwidth& bandwidth) {
  return relative(bandwidth.half_width_bytes_per_s, bandwidth.bytes_per_s);
}

double relative_half_width(const qualify::Latency& latency) {
  return relative(latency.half_width_us, latency.p50_us);
}

std::vector<std::string> find_findings(const BenchReport& report) {
  std::vector<std::string> findings;
  find_slow_link(report, findings);
  find_noise(report, findings);
  return findings;
}

}  // namespace godwit::cli
