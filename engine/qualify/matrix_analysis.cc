// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/matrix_analysis.h"

#include <algorithm>
#include <functional>
#include <set>

#include "engine/base/check.h"

namespace godwit::qualify {
namespace {

// With fewer peers, "most of them" says nothing about the host.
constexpr size_t kPeersMin = 2;

std::vector<const Direction*> measured(const std::vector<Direction>& directions) {
  std::vector<const Direction*> found;
  for (const Direction& direction : directions) {
    if (direction.measured()) found.push_back(&direction);
  }
  return found;
}

// Where its confidence interval ends: what varies much is not called slow.
double upper_end(const Direction& direction) {
  return direction.bytes_per_s + direction.half_width_bytes_per_s;
}

double lower_end(const Direction& direction) {
  return direction.bytes_per_s - direction.half_width_bytes_per_s;
}

std::vector<double> rates_of(const std::vector<const Direction*>& directions) {
  std::vector<double> rates;
  for (const Direction* direction : directions) rates.push_back(direction->bytes_per_s);
  return rates;
}

// Hosts that are slow at one end of most of their directions.
std::set<size_t> find_slow_hosts(const MatrixReport& report, size_t Direction::*end,
                                 std::vector<MatrixFinding>& findings) {
  const double usual = median_rate(report);
  std::set<size_t> slow_hosts;
  for (size_t host = 0; host < report.hosts.size(); ++host) {
    std::vector<const Direction*> own = measured(report.pairs);
    std::erase_if(own, [&](const Direction* direction) { return direction->*end != host; });
    const auto slow =
        static_cast<size_t>(std::ranges::count_if(own, [&](const Direction* direction) {
          return direction->bytes_per_s < kSlowShare * usual;
        }));
    if (own.size() < kPeersMin || 2 * slow <= own.size()) continue;
    slow_hosts.insert(host);
    const bool sends = end == &Direction::from;
    findings.push_back({.kind = sends ? FindingKind::kSlowSender : FindingKind::kSlowReceiver,
                        .from = sends ? host : 0,
                        .to = sends ? 0 : host,
                        .value = median(rates_of(own)),
                        .usual = usual});
  }
  return slow_hosts;
}

// What is found of single links begins where there is nothing yet, and ends sorted.
void add_sorted(std::vector<MatrixFinding>& findings, std::vector<MatrixFinding> added) {
  std::ranges::stable_sort(
      added, {}, [](const MatrixFinding& finding) { return finding.value / finding.usual; });
  findings.insert(findings.end(), added.begin(), added.end());
}

std::vector<MatrixFinding> find_slow_links(const MatrixReport& report,
                                           const std::function<bool(const Direction&)>& explained) {
  const double usual = median_rate(report);
  std::vector<MatrixFinding> found;
  for (const Direction* direction : measured(report.pairs)) {
    if (upper_end(*direction) < kSlowShare * usual && !explained(*direction))
      found.push_back({.kind = FindingKind::kSlowLink,
                       .from = direction->from,
                       .to = direction->to,
                       .value = direction->bytes_per_s,
                       .usual = usual});
  }
  return found;
}

std::vector<MatrixFinding> find_asymmetries(
    const MatrixReport& report, const std::function<bool(const Direction&)>& explained) {
  std::vector<MatrixFinding> found;
  for (const Direction* direction : measured(report.pairs)) {
    const Direction* back = find_direction(report, direction->to, direction->from);
    if (back != nullptr && upper_end(*direction) < kSlowShare * lower_end(*back) &&
        !explained(*direction))
      found.push_back({.kind = FindingKind::kAsymmetry,
                       .from = direction->from,
                       .to = direction->to,
                       .value = direction->bytes_per_s,
                       .usual = back->bytes_per_s});
  }
  return found;
}

std::vector<MatrixFinding> find_high_latencies(const MatrixReport& report) {
  const double usual = median_read_p50_us(report);
  std::vector<MatrixFinding> found;
  for (const Direction* direction : measured(report.pairs)) {
    if (direction->reads > 0 && direction->read_p50_us > kHighLatencyTimes * usual)
      found.push_back({.kind = FindingKind::kHighLatency,
                       .from = direction->from,
                       .to = direction->to,
                       .value = direction->read_p50_us,
                       .usual = usual});
  }
  std::ranges::stable_sort(found, std::greater<>(), &MatrixFinding::value);
  return found;
}

// Against what the same pair reaches alone.
void find_contention(const MatrixReport& report, std::vector<MatrixFinding>& findings) {
  const auto alone = [&](const Direction& direction) {
    return find_direction(report, direction.from, direction.to);
  };
  std::vector<const Direction*> both = measured(report.at_once);
  std::erase_if(both, [&](const Direction* direction) {
    return alone(*direction) == nullptr || !(alone(*direction)->bytes_per_s > 0);
  });
  std::vector<double> shares;
  for (const Direction* direction : both)
    shares.push_back(direction->bytes_per_s / alone(*direction)->bytes_per_s);
  const double usual = median(shares);
  if (!shares.empty() && usual < kSlowShare)
    findings.push_back({.kind = FindingKind::kContention, .value = usual, .usual = 1});
  std::vector<MatrixFinding> found;
  for (size_t i = 0; i < both.size(); ++i) {
    if (upper_end(*both[i]) < kSlowShare * usual * alone(*both[i])->bytes_per_s)
      found.push_back({.kind = FindingKind::kSlowAtOnce,
                       .from = both[i]->from,
                       .to = both[i]->to,
                       .value = shares[i],
                       .usual = usual});
  }
  add_sorted(findings, std::move(found));
}

}  // namespace

const char* to_string(FindingKind kind) {
  switch (kind) {
    case FindingKind::kSlowSender:
      return "slow_sender";
    case FindingKind::kSlowReceiver:
      return "slow_receiver";
    case FindingKind::kSlowLink:
      return "slow_link";
    case FindingKind::kAsymmetry:
      return "asymmetry";
    case FindingKind::kHighLatency:
      return "high_latency";
    case FindingKind::kSlowAtOnce:
      return "slow_at_once";
    case FindingKind::kContention:
      return "contention";
  }
  CHECK(false && "a FindingKind outside its enumerators");
}

std::vector<MatrixFinding> analyze_matrix(const MatrixReport& report) {
  std::vector<MatrixFinding> findings;
  const std::set<size_t> senders = find_slow_hosts(report, &Direction::from, findings);
  const std::set<size_t> receivers = find_slow_hosts(report, &Direction::to, findings);
  const auto explained = [&](const Direction& direction) {
    return senders.contains(direction.from) || receivers.contains(direction.to);
  };
  add_sorted(findings, find_slow_links(report, explained));
  add_sorted(findings, find_asymmetries(report, explained));
  for (const MatrixFinding& finding : find_high_latencies(report)) findings.push_back(finding);
  find_contention(report, findings);
  return findings;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double median_rate(const MatrixReport& report) {
  return median(rates_of(measured(report.pairs)));
}

double median_read_p50_us(const MatrixReport& report) {
  std::vector<double> latencies;
  for (const Direction* direction : measured(report.pairs)) {
    if (direction->reads > 0) latencies.push_back(direction->read_p50_us);
  }
  return median(std::move(latencies));
}

const Direction* find_direction(const MatrixReport& report, size_t from, size_t to) {
  const auto found = std::ranges::find_if(report.pairs, [&](const Direction& direction) {
    return direction.from == from && direction.to == to && direction.measured();
  });
  return found == report.pairs.end() ? nullptr : &*found;
}

}  // namespace godwit::qualify
