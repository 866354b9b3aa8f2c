// SPDX-License-Identifier: Apache-2.0
#include "cli/run_comparison.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <optional>

#include "cli/bench_text.h"
#include "cli/units.h"
#include "engine/base/check.h"

namespace godwit::cli {
namespace {

using Json = nlohmann::ordered_json;

enum class Unit : uint8_t { kCount, kBytes, kRate, kMilliseconds, kMicroseconds, kSeconds };
enum class Direction : uint8_t { kNeither, kMore, kLess };  // what is better

constexpr char kBenchNote[] =
    "Bandwidth is the best of the lanes and depths that were tried. ~ is within the 95 % "
    "confidence intervals; ? varied too much to say anything; other changes of percentiles have "
    "no interval.";
constexpr char kMigrationNote[] =
    "Each run is one migration: two of the same differ, too. Less than 5 % is taken for no "
    "difference.";
// Of migrations, which are measured once.
constexpr double kSameShare = 0.05;

// A figure of one run.
struct Figure {
  std::optional<double> value;
  double half_width = 0;  // of its confidence interval; 0: not known
  bool noisy = false;
};

// A figure of all runs.
struct Row {
  std::string name;
  Unit unit;
  Direction better;
  std::vector<Figure> figures;
};

std::string format(double value, Unit unit) {
  switch (unit) {
    case Unit::kCount:
      return fmt::format("{:.0f}", value);
    case Unit::kBytes:
      return format_bytes(static_cast<uint64_t>(std::clamp(value, 0.0, 1e18)));
    case Unit::kRate:
      return format_rate(value);
    case Unit::kMilliseconds:
      return format_milliseconds(value);
    case Unit::kMicroseconds:
      return value < 1000 ? fmt::format("{:.1f} us", value) : format_milliseconds(value / 1e3);
    case Unit::kSeconds:
      return fmt::format("{:.2f} s", value);
  }
  CHECK(false && "a Unit outside its enumerators");
}

// The number at this place, where there is one.
std::optional<double> number_at(const Json& json, std::initializer_list<const char*> path) {
  const Json* at = &json;
  for (const char* name : path) {
    if (!at->is_object()) return std::nullopt;
    const auto found = at->find(name);
    if (found == at->end()) return std::nullopt;
    at = &*found;
  }
  if (!at->is_number()) return std::nullopt;
  return at->get<double>();
}

std::string text_at(const Json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "-";
}

Verdict judge(const Figure& first, const Figure& figure, Direction better, RunKind kind) {
  const double difference = *figure.value - *first.value;
  const double noise = kind == RunKind::kMigration
                           ? kSameShare * std::abs(*first.value)
                           : std::hypot(first.half_width, figure.half_width);
  if (first.noisy || figure.noisy || better == Direction::kNeither || noise == 0)
    return Verdict::kNone;
  if (std::abs(difference) <= noise) return Verdict::kSame;
  return (difference > 0) == (better == Direction::kMore) ? Verdict::kBetter : Verdict::kWorse;
}

ComparedRow compare(const Row& row, RunKind kind) {
  ComparedRow compared{row.name, {}};
  const Figure& first = row.figures.front();
  for (const Figure& figure : row.figures) {
    ComparedCell cell{.text = "-", .change = {}};
    if (figure.value) cell.text = format(*figure.value, row.unit) + (figure.noisy ? " ?" : "");
    if (&figure != &first && figure.value && first.value && *first.value != 0) {
      const double share = (*figure.value - *first.value) / *first.value;
      cell.verdict = judge(first, figure, row.better, kind);
      cell.change = fmt::format("{:+.0f} %", 100 * share);
      if (cell.verdict == Verdict::kSame && kind != RunKind::kMigration) cell.change = "~";
    }
    compared.cells.push_back(std::move(cell));
  }
  return compared;
}

Row make_row(std::string name, Unit unit, Direction better, std::span<const Run> runs,
             const std::function<Figure(const Json&)>& figure_of) {
  Row row{std::move(name), unit, better, {}};
  for (const Run& run : runs) row.figures.push_back(figure_of(run.document));
  return row;
}

struct MigrationFigure {
  const char* name;
  Unit unit;
  Direction better;
  std::initializer_list<const char*> path;
};

// What was never measured is 0 in a report.
Figure measured(std::optional<double> value) {
  return {.value = value && *value != 0 ? value : std::nullopt};
}

ComparedRow text_row(const char* title, const char* field, std::span<const Run> runs) {
  ComparedRow row{title, {}};
  for (const Run& run : runs)
    row.cells.push_back({.text = text_at(run.document, field), .change = {}});
  return row;
}

Figure waited_for_pages(const Json& report) {
  const auto post_copy = report.find("post_copy");
  if (post_copy == report.end() || !post_copy->is_object()) return {};
  const auto stalls = post_copy->find("vcpu_stall_ms");
  if (stalls == post_copy->end() || !stalls->is_array()) return {};
  const double sum = std::accumulate(
      stalls->begin(), stalls->end(), 0.0,
      [](double all, const Json& ms) { return all + (ms.is_number() ? ms.get<double>() : 0); });
  return measured(sum);
}

// With post-copy it is what that was there to avoid.
Figure predicted_downtime(const Json& report) {
  const auto post_copy = report.find("post_copy");
  if (post_copy != report.end() && !post_copy->is_null()) return {};
  return measured(number_at(report, {"predicted_downtime_ms"}));
}

std::vector<Row> migration_rows(std::span<const Run> runs) {
  const MigrationFigure figures[] = {
      {"downtime", Unit::kMilliseconds, Direction::kLess, {"downtime_ms"}},
      {"whole migration", Unit::kMilliseconds, Direction::kLess, {"total_ms"}},
      {"whole migration, predicted",
       Unit::kMilliseconds,
       Direction::kNeither,
       {"post_copy", "predicted_total_ms"}},
      {"setup", Unit::kMilliseconds, Direction::kLess, {"setup_ms"}},
      {"throughput", Unit::kRate, Direction::kMore, {"throughput_bytes_per_s"}},
      {"CPU time", Unit::kSeconds, Direction::kLess, {"cpu_seconds"}},
      {"memory", Unit::kBytes, Direction::kNeither, {"ram_bytes"}},
      {"sent", Unit::kBytes, Direction::kLess, {"bytes_sent"}},
      {"zero pages", Unit::kCount, Direction::kNeither, {"zero_pages"}},
      {"torn pages", Unit::kCount, Direction::kNeither, {"torn_pages"}},
      {"post-copy", Unit::kMilliseconds, Direction::kLess, {"post_copy", "ms"}},
      {"missing at the switchover",
       Unit::kBytes,
       Direction::kNeither,
       {"post_copy", "missing_bytes"}},
      {"page faults", Unit::kCount, Direction::kLess, {"post_copy", "faults"}},
      {"page fault p50",
       Unit::kMicroseconds,
       Direction::kLess,
       {"post_copy", "fault_latency_us", "p50"}},
      {"page fault p99",
       Unit::kMicroseconds,
       Direction::kLess,
       {"post_copy", "fault_latency_us", "p99"}},
      {"longest page fault",
       Unit::kMicroseconds,
       Direction::kLess,
       {"post_copy", "fault_latency_us", "max"}}};
  std::vector<Row> rows;
  for (const MigrationFigure& figure : figures)
    rows.push_back(make_row(figure.name, figure.unit, figure.better, runs, [&](const Json& report) {
      return measured(number_at(report, figure.path));
    }));
  rows.insert(rows.begin() + 1, make_row("downtime, predicted", Unit::kMilliseconds,
                                         Direction::kNeither, runs, predicted_downtime));
  rows.push_back(
      make_row("rounds", Unit::kCount, Direction::kNeither, runs, [](const Json& report) {
        return measured(static_cast<double>(report.at("rounds").size()));
      }));
  rows.push_back(make_row("vCPUs waited for pages", Unit::kMilliseconds, Direction::kLess, runs,
                          waited_for_pages));
  return rows;
}

// What tells results from each other across runs. Rails have other names on other hosts: all of a
// run's are all of another's.
std::string bench_key(const Json& run, const Json& result) {
  std::string key = text_at(result, "verb");
  if (const auto size = number_at(result, {"size_bytes"}); size && *size >= 0 && *size < 1e9)
    key += " " + format_transfer_size(static_cast<uint32_t>(*size));
  const auto rails = result.find("rails");
  if (rails != result.end() && rails->is_array() && rails->size() < run.at("paths").size()) {
    for (const Json& rail : *rails)
      key += " by " + (rail.is_string() ? rail.get<std::string>() : "?");
  }
  for (const auto& [field, word] :
       {std::pair("memory_node", "node"), std::pair("peer_memory_node", "to node")}) {
    if (const auto node = number_at(result, {field})) key += fmt::format(" {} {:.0f}", word, *node);
  }
  if (text_at(result, "load") == "full") key += " under full load";
  return key;
}

// In the order of the results, but each verb's by size: lanes are looked for with one of the sizes.
std::vector<std::string> bench_keys(std::span<const Run> runs, const char* list) {
  struct Key {
    std::string text;
    size_t verb;
    double size_bytes;
  };
  std::vector<Key> keys;
  std::vector<std::string> verbs;
  for (const Run& run : runs) {
    for (const Json& result : run.document.at(list)) {
      Key key{bench_key(run.document, result), 0, number_at(result, {"size_bytes"}).value_or(0)};
      const auto verb = std::find(verbs.begin(), verbs.end(), text_at(result, "verb"));
      key.verb = static_cast<size_t>(verb - verbs.begin());
      if (verb == verbs.end()) verbs.push_back(text_at(result, "verb"));
      if (std::none_of(keys.begin(), keys.end(),
                       [&](const Key& known) { return known.text == key.text; }))
        keys.push_back(std::move(key));
    }
  }
  std::stable_sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) {
    return std::pair(a.verb, a.size_bytes) < std::pair(b.verb, b.size_bytes);
  });
  std::vector<std::string> texts;
  for (Key& key : keys) texts.push_back(std::move(key.text));
  return texts;
}

Figure figure_of(const Json& result, const char* value, const char* half_width) {
  return {.value = number_at(result, {value}),
          .half_width = half_width == nullptr ? 0 : number_at(result, {half_width}).value_or(0),
          .noisy = text_at(result, "confidence") == "noisy"};
}

Figure best_rate(const Json& run, const std::string& key) {
  Figure best;
  for (const Json& result : run.at("bandwidth")) {
    if (bench_key(run, result) != key) continue;
    const Figure figure = figure_of(result, "bytes_per_s", "half_width_bytes_per_s");
    if (figure.value && (!best.value || *figure.value > *best.value)) best = figure;
  }
  return best;
}

Figure latency_at(const Json& run, const std::string& key, const char* value,
                  const char* half_width) {
  Figure last;
  for (const Json& result : run.at("latency")) {
    if (bench_key(run, result) == key) last = figure_of(result, value, half_width);
  }
  return last;
}

std::vector<Row> bench_rows(std::span<const Run> runs) {
  std::vector<Row> rows;
  for (const std::string& key : bench_keys(runs, "bandwidth"))
    rows.push_back(make_row(key, Unit::kRate, Direction::kMore, runs,
                            [&](const Json& run) { return best_rate(run, key); }));
  for (const std::string& key : bench_keys(runs, "latency")) {
    rows.push_back(
        make_row(key + " p50", Unit::kMicroseconds, Direction::kLess, runs,
                 [&](const Json& run) { return latency_at(run, key, "p50_us", "half_width_us"); }));
    rows.push_back(
        make_row(key + " p99", Unit::kMicroseconds, Direction::kLess, runs,
                 [&](const Json& run) { return latency_at(run, key, "p99_us", nullptr); }));
  }
  return rows;
}

// The direction's, which has no more than one result in each of the two lists.
Figure direction_at(const Json& run, const char* list,
                    const std::pair<std::string, std::string>& ends, const char* value,
                    const char* half_width) {
  for (const Json& result : run.at(list)) {
    if (text_at(result, "from") == ends.first && text_at(result, "to") == ends.second)
      return figure_of(result, value, half_width);
  }
  return {};
}

std::vector<Row> matrix_rows(std::span<const Run> runs) {
  std::vector<std::pair<std::string, std::string>> directions;
  for (const Run& run : runs) {
    for (const Json& result : run.document.at("pairs")) {
      std::pair ends(text_at(result, "from"), text_at(result, "to"));
      if (std::find(directions.begin(), directions.end(), ends) == directions.end())
        directions.push_back(std::move(ends));
    }
  }
  std::vector<Row> rows;
  for (const auto& ends : directions) {
    const std::string name = ends.first + " -> " + ends.second;
    for (const auto& [list, words] :
         {std::pair("pairs", ""), std::pair("at_once", ", all at once")})
      rows.push_back(make_row(
          name + words, Unit::kRate, Direction::kMore, runs, [&, list = list](const Json& run) {
            return direction_at(run, list, ends, "bytes_per_s", "half_width_bytes_per_s");
          }));
    rows.push_back(make_row(
        name + " read p50", Unit::kMicroseconds, Direction::kLess, runs,
        [&](const Json& run) { return direction_at(run, "pairs", ends, "read_p50_us", nullptr); }));
  }
  return rows;
}

std::vector<Row> rows_of(std::span<const Run> runs) {
  switch (runs.front().kind) {
    case RunKind::kBench:
      return bench_rows(runs);
    case RunKind::kMatrix:
      return matrix_rows(runs);
    case RunKind::kMigration:
      return migration_rows(runs);
  }
  CHECK(false && "a RunKind outside its enumerators");
}

bool is_known(const Row& row) {
  return std::any_of(row.figures.begin(), row.figures.end(),
                     [](const Figure& figure) { return figure.value.has_value(); });
}

}  // namespace

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kNone:
      return "";
    case Verdict::kSame:
      return "same";
    case Verdict::kBetter:
      return "better";
    case Verdict::kWorse:
      return "worse";
  }
  CHECK(false && "a Verdict outside its enumerators");
}

Comparison compare_runs(std::span<const Run> runs) {
  CHECK(!runs.empty());
  const RunKind kind = runs.front().kind;
  Comparison comparison;
  for (const Run& run : runs) comparison.columns.push_back(run.name);
  comparison.note = kind == RunKind::kMigration ? kMigrationNote : kBenchNote;
  if (kind == RunKind::kMigration) {
    comparison.rows.push_back(text_row("outcome", "status", runs));
    comparison.rows.push_back(text_row("way", "transport", runs));
  }
  for (const Row& row : rows_of(runs)) {
    if (is_known(row)) comparison.rows.push_back(compare(row, kind));
  }
  return comparison;
}

}  // namespace godwit::cli
