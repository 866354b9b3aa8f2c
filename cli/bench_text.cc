// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <utility>

#include "cli/bench_findings.h"
#include "cli/bench_plot.h"
#include "cli/units.h"
#include "engine/base/units.h"

namespace godwit::cli {
namespace {

using qualify::BandwidthResult;
using qualify::BenchReport;
using qualify::Cell;
using qualify::Confidence;
using qualify::LatencyResult;

constexpr double kBarLetters = 60;

std::string format_width(double share) {
  return share < 1 ? fmt::format("{:.1f}%", 100 * share) : ">100%";
}

// Beside a number: what it is worth.
const char* mark(Confidence confidence) {
  return confidence == Confidence::kNoisy ? " ?" : "";
}

std::string describe_places(const Cell& cell, const BenchReport& report) {
  std::string text;
  if (report.paths.size() > 1) {
    for (const size_t path : cell.paths)
      text += (text.empty() ? " " : "+") + report.paths[path].rail;
  }
  if (cell.load == qualify::Load::kFull) text += " under full load";
  if (cell.memory_node != qualify::kAnyNode) text += fmt::format(" node {}", cell.memory_node);
  if (cell.peer_memory_node != qualify::kAnyNode)
    text += fmt::format(" to node {}", cell.peer_memory_node);
  return text;
}

std::string describe_link(const LinkDescription& link) {
  std::string text = link.device.empty() ? "unknown" : link.device;
  if (link.line_rate_bits_per_s > 0)
    text += fmt::format(", {:g} Gbit/s", static_cast<double>(link.line_rate_bits_per_s) / 1e9);
  if (link.mtu_bytes > 0) text += fmt::format(", MTU {}", link.mtu_bytes);
  return text;
}

std::string render_paths(const BenchOutcome& outcome) {
  const BenchReport& report = outcome.report;
  std::string text = fmt::format("To {}, control connection: {}\n", outcome.peer, outcome.security);
  for (size_t i = 0; i < report.paths.size(); ++i) {
    const qualify::PathReport& path = report.paths[i];
    text += fmt::format("  {} by {} ({}) to {} ({}); memory used first: {:.1f} ms/GiB\n",
                        path.transport, path.rail, describe_link(path.link), path.peer_rail,
                        describe_link(path.peer_link), 1e3 * report.registration_s_per_gib[i]);
  }
  return text;
}

std::string render_bandwidth(const BenchReport& report) {
  std::string text =
      fmt::format("\n{:<7}{:>8}{:>7}{:>7}{:>11}{:>8}{:>13}{:>7}{:>11}{:>11}\n", "", "size", "lanes",
                  "depth", "GB/s", "+-", "least 100ms", "line", "CPU s/GB", "there");
  for (const BandwidthResult& result : report.bandwidth) {
    const qualify::Bandwidth& found = result.bandwidth;
    const auto share = share_of_line_rate(result, report);
    text +=
        fmt::format("{:<7}{:>8}{:>7}{:>7}{:>11.3f}{:>8}{:>13.3f}{:>7}{:>11.2f}{:>11.2f}{}{}\n",
                    to_string(result.cell.verb), format_transfer_size(result.cell.size_bytes),
                    result.cell.lanes, result.cell.depth, found.bytes_per_s / 1e9,
                    format_width(relative_half_width(found)), found.min_100ms_bytes_per_s / 1e9,
                    share ? fmt::format("{:.0f}%", 100 * *share) : "-",
                    cpu_s_per_gb(found, found.cpu.here_s), cpu_s_per_gb(found, found.cpu.there_s),
                    describe_places(result.cell, report), mark(found.confidence));
  }
  return text;
}

// The sizes of a sweep beside each other, over all rails: the last rate of each, since lanes are
// tried before.
std::string render_bars(const BenchReport& report) {
  std::map<std::pair<qualify::Verb, uint32_t>, double> rates;
  for (const BandwidthResult& result : report.bandwidth) {
    const bool everywhere = result.cell.paths.size() == report.paths.size();
    if (everywhere)
      rates[{result.cell.verb, result.cell.size_bytes}] = result.bandwidth.bytes_per_s;
  }
  double best = 0;
  for (const auto& [what, rate] : rates) best = std::max(best, rate);
  std::string text = "\n";
  for (const auto& [what, rate] : rates) {
    const double share = best > 0 ? rate / best : 0;
    text += fmt::format("{:<7}{:>8} {}\n", to_string(what.first), format_transfer_size(what.second),
                        std::string(static_cast<size_t>(share * kBarLetters), '#'));
  }
  return text;
}

std::string render_latency(const BenchReport& report) {
  std::string text = fmt::format("\n{:<8}{:>8}{:>10}{:>10}{:>10}{:>10}{:>10}{:>8}{:>10}\n", "us",
                                 "size", "p50", "p90", "p99", "p99.9", "max", "+-", "count");
  for (const LatencyResult& result : report.latency) {
    const qualify::Latency& found = result.latency;
    text += fmt::format("{:<8}{:>8}{:>10.1f}{:>10.1f}{:>10.1f}{:>10.1f}{:>10.1f}{:>8}{:>10}{}{}\n",
                        to_string(result.cell.verb), format_transfer_size(result.cell.size_bytes),
                        found.p50_us, found.p90_us, found.p99_us, found.p99_9_us, found.max_us,
                        format_width(relative_half_width(found)), found.count,
                        describe_places(result.cell, report), mark(found.confidence));
  }
  return text;
}

}  // namespace

std::string format_transfer_size(uint32_t size_bytes) {
  if (size_bytes >= kMiB && size_bytes % kMiB == 0) return fmt::format("{} MiB", size_bytes / kMiB);
  if (size_bytes >= kKiB && size_bytes % kKiB == 0) return fmt::format("{} KiB", size_bytes / kKiB);
  return fmt::format("{} B", size_bytes);
}

std::string render_bench_text(const BenchOutcome& outcome) {
  const BenchReport& report = outcome.report;
  std::string text = render_paths(outcome) + render_bandwidth(report) + render_bars(report) +
                     render_latency(report) + render_latency_plot(report);
  text += fmt::format("\nTook {:.1f} s.\n", report.duration_s);
  for (const std::string& finding : report.findings) text += "! " + finding + "\n";
  return text;
}

}  // namespace godwit::cli
