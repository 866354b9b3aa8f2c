// SPDX-License-Identifier: Apache-2.0
#include "cli/matrix_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>

#include "cli/units.h"
#include "engine/base/check.h"

namespace godwit::cli {
namespace {

using qualify::Direction;
using qualify::FindingKind;
using qualify::MatrixFinding;
using qualify::MatrixReport;

// A row for each host and a column for each has room in a terminal up to here.
constexpr size_t kColumnsMax = 16;
constexpr size_t kNameWidthMax = 24;

size_t name_width(const MatrixReport& report) {
  size_t width = 4;
  for (const auto& host : report.hosts) width = std::max(width, host.name.size());
  return std::min(width, kNameWidthMax);
}

// "12 name-of-host   "
std::string row_head(const MatrixReport& report, size_t host) {
  return fmt::format("{:>3} {:<{}.{}}", host + 1, report.hosts[host].name, name_width(report),
                     name_width(report));
}

// The cell's number for a direction, or what stands for it.
std::string cell(const MatrixReport& report, size_t from, size_t to,
                 const std::function<std::string(const Direction&)>& number) {
  if (from == to) return ".";
  const Direction* direction = qualify::find_direction(report, from, to);
  return direction == nullptr ? "-" : number(*direction);
}

std::string render_square(const MatrixReport& report, const std::string& title,
                          const std::function<std::string(const Direction&)>& number) {
  std::string text = fmt::format("\n{:<{}}", title, 4 + name_width(report));
  for (size_t to = 0; to < report.hosts.size(); ++to) text += fmt::format("{:>9}", to + 1);
  text += "\n";
  for (size_t from = 0; from < report.hosts.size(); ++from) {
    text += row_head(report, from);
    for (size_t to = 0; to < report.hosts.size(); ++to)
      text += fmt::format("{:>9}", cell(report, from, to, number));
    text += "\n";
  }
  return text;
}

// Of one host, over all its peers.
std::string render_row(const MatrixReport& report, size_t host) {
  std::vector<double> out;
  std::vector<double> in;
  std::vector<double> reads;
  for (const Direction& direction : report.pairs) {
    if (!direction.measured()) continue;
    if (direction.from == host) out.push_back(direction.bytes_per_s / 1e9);
    if (direction.to == host) in.push_back(direction.bytes_per_s / 1e9);
    if (direction.from == host) reads.push_back(direction.read_p50_us);
  }
  if (out.empty() && in.empty()) return row_head(report, host) + "        -\n";
  const auto least = [](const std::vector<double>& values) {
    return values.empty() ? 0.0 : std::ranges::min(values);
  };
  return fmt::format("{}{:>9.3f}{:>9.3f}{:>9.3f}{:>9.3f}{:>9.1f}\n", row_head(report, host),
                     qualify::median(out), least(out), qualify::median(in), least(in),
                     qualify::median(reads));
}

std::string render_tables(const MatrixReport& report) {
  if (report.hosts.size() > kColumnsMax) {
    std::string text =
        fmt::format("\n{:<{}}{:>9}{:>9}{:>9}{:>9}{:>9}\n", "GB/s, us", 4 + name_width(report),
                    "writes", "least", "written", "least", "read");
    for (size_t host = 0; host < report.hosts.size(); ++host) text += render_row(report, host);
    return text;
  }
  const auto rate = [](const Direction& direction) {
    return fmt::format("{:.3f}{}", direction.bytes_per_s / 1e9,
                       direction.confidence == qualify::Confidence::kNoisy ? "?" : "");
  };
  const auto latency = [](const Direction& direction) {
    return fmt::format("{:.0f}/{:.0f}", direction.read_p50_us, direction.read_p99_us);
  };
  return render_square(report, "GB/s, to", rate) + render_square(report, "us, p50/p99", latency);
}

std::string render_at_once(const MatrixReport& report) {
  double sum = 0;
  std::vector<double> shares;
  for (const Direction& direction : report.at_once) {
    if (!direction.measured()) continue;
    sum += direction.bytes_per_s;
    const Direction* alone = qualify::find_direction(report, direction.from, direction.to);
    if (alone != nullptr && alone->bytes_per_s > 0)
      shares.push_back(direction.bytes_per_s / alone->bytes_per_s);
  }
  if (shares.empty()) return "";
  return fmt::format("\nEveryone at once: {} together, each {:.0f} % (median) of its rate alone.\n",
                     format_rate(sum), 100 * qualify::median(shares));
}

std::string way(const MatrixFinding& finding, const MatrixReport& report) {
  return fmt::format("{} -> {}", report.hosts[finding.from].name, report.hosts[finding.to].name);
}

}  // namespace

std::string describe_finding(const MatrixFinding& finding, const MatrixReport& report) {
  const double percent = finding.usual > 0 ? 100 * finding.value / finding.usual : 0;
  switch (finding.kind) {
    case FindingKind::kSlowSender:
      return fmt::format(
          "{} is slow in writing to most hosts: {} (median), {:.0f} % of the usual {}",
          report.hosts[finding.from].name, format_rate(finding.value), percent,
          format_rate(finding.usual));
    case FindingKind::kSlowReceiver:
      return fmt::format(
          "{} is slow in being written to by most hosts: {} (median), {:.0f} % of the usual {}",
          report.hosts[finding.to].name, format_rate(finding.value), percent,
          format_rate(finding.usual));
    case FindingKind::kSlowLink:
      return fmt::format("{} is slow: {}, {:.0f} % of the usual {}", way(finding, report),
                         format_rate(finding.value), percent, format_rate(finding.usual));
    case FindingKind::kAsymmetry:
      return fmt::format("{} carries {}, and {} the other way", way(finding, report),
                         format_rate(finding.value), format_rate(finding.usual));
    case FindingKind::kHighLatency:
      return fmt::format("{} takes long: reads take {:.0f} us, usual are {:.0f} us",
                         way(finding, report), finding.value, finding.usual);
    case FindingKind::kSlowAtOnce:
      return fmt::format(
          "{} loses most with everyone at once: {:.0f} % of its rate alone, usual are {:.0f} %",
          way(finding, report), 100 * finding.value, 100 * finding.usual);
    case FindingKind::kContention:
      return fmt::format(
          "with everyone at once a host reaches {:.0f} % of its rate alone: what they share, a "
          "network or CPUs, is too narrow for all",
          100 * finding.value);
  }
  CHECK(false && "a FindingKind outside its enumerators");
}

std::vector<std::string> describe_losses(const MatrixReport& report) {
  std::vector<std::string> sentences;
  for (const auto& host : report.hosts) {
    if (!host.lost.empty())
      sentences.push_back(fmt::format("{} is lost: {}", host.name, host.lost));
  }
  for (const auto* list : {&report.pairs, &report.at_once}) {
    for (const Direction& direction : *list) {
      // The host has been named.
      const bool lost =
          !report.hosts[direction.from].lost.empty() || !report.hosts[direction.to].lost.empty();
      if (direction.measured() || lost) continue;
      sentences.push_back(fmt::format("{} -> {} was not measured: {}",
                                      report.hosts[direction.from].name,
                                      report.hosts[direction.to].name, direction.failure));
    }
  }
  return sentences;
}

std::string render_matrix_text(const MatrixOutcome& outcome) {
  const MatrixReport& report = outcome.report;
  std::string text = fmt::format("{} hosts, {} rounds of pairs, control connections: {}\n",
                                 report.hosts.size(), report.rounds, outcome.security);
  text += render_tables(report) + render_at_once(report);
  text +=
      fmt::format("\nTook {:.1f} s. Usual: {}, reads of 4 KiB {:.0f} us.\n", report.duration_s,
                  format_rate(qualify::median_rate(report)), qualify::median_read_p50_us(report));
  for (const std::string& loss : describe_losses(report)) text += "! " + loss + "\n";
  for (const MatrixFinding& finding : outcome.findings)
    text += "! " + describe_finding(finding, report) + "\n";
  return text;
}

}  // namespace godwit::cli
