// SPDX-License-Identifier: Apache-2.0
//
// `godwit report`: which files are runs, how runs are compared, and how they get into a page.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cli/report_json.h"
#include "cli/report_page.h"
#include "cli/run_comparison.h"
#include "cli/run_file.h"

namespace godwit::cli {
namespace {

// One result of each kind; 95 % of rates are within 10 MB/s.
std::string bench_json(double bytes_per_s, double p50_us, const std::string& more = "") {
  return fmt::format(
      R"({{"schema": 1, "peer": "b", "paths": [{{"rail": "r"}}],
          "bandwidth": [{{"verb": "write", "size_bytes": 1048576, "rails": ["r"], "lanes": 1,
                          "bytes_per_s": {0}, "half_width_bytes_per_s": 1e7, "confidence": "narrow"}},
                        {{"verb": "write", "size_bytes": 4096, "rails": ["r"], "lanes": 2,
                          "bytes_per_s": 3e8, "half_width_bytes_per_s": 1e7, "confidence": "noisy"}},
                        {{"verb": "write", "size_bytes": 1048576, "rails": ["r"], "lanes": 2,
                          "bytes_per_s": 1, "half_width_bytes_per_s": 1, "confidence": "narrow"}}],
          "latency": [{{"verb": "read", "size_bytes": 4096, "rails": ["r"], "load": "full",
                        "p50_us": {1}, "p99_us": 100, "half_width_us": 0.5,
                        "confidence": "narrow"}}]{2}}})",
      bytes_per_s, p50_us, more);
}

Run bench(double bytes_per_s, double p50_us) {
  return parse_run("run", bench_json(bytes_per_s, p50_us)).value();
}

Run migration(double downtime_ms) {
  MigrationReport report;
  report.session = "00c0ffee00c0ffee";
  report.status = MigrationStatus::kCompleted;
  report.downtime_ms = downtime_ms;
  report.rounds.resize(3);
  return parse_run("run", render_report_json(report, SessionRole::kSource)).value();
}

const ComparedRow& row(const Comparison& comparison, const std::string& name) {
  for (const ComparedRow& found : comparison.rows) {
    if (found.name == name) return found;
  }
  ADD_FAILURE() << "no row '" << name << "'";
  return comparison.rows.front();
}

std::string refusal(const std::string& text) {
  const Result<Run> run = parse_run("x.json", text);
  if (run) return "";
  EXPECT_EQ(run.error().code, Errc::kRefused);
  return to_string(run.error());
}

size_t count(const std::string& text, const std::string& word) {
  size_t found = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++found;
  return found;
}

TEST(RunFile, TellsABenchFromAMigration) {
  EXPECT_EQ(bench(1e9, 10).kind, RunKind::kBench);
  EXPECT_EQ(migration(10).kind, RunKind::kMigration);
}

// Two hosts, of which the first writes at this rate.
std::string matrix_json(double bytes_per_s) {
  return fmt::format(
      R"({{"schema": 1, "hosts": [{{"name": "a", "lost": null}}, {{"name": "b", "lost": null}}],
          "pairs": [{{"from": "a", "to": "b", "bytes_per_s": {0}, "half_width_bytes_per_s": 1e6,
                      "confidence": "narrow", "read_p50_us": 20}},
                    {{"from": "b", "to": "a", "bytes_per_s": null, "confidence": null}}],
          "at_once": [{{"from": "a", "to": "b", "bytes_per_s": 1e8, "half_width_bytes_per_s": 1e7,
                        "confidence": "narrow"}}]}})",
      bytes_per_s);
}

TEST(RunFile, KnowsAMatrix) {
  EXPECT_EQ(parse_run("m", matrix_json(1)).value().kind, RunKind::kMatrix);
  EXPECT_NE(refusal(R"({"schema": 2, "hosts": [], "pairs": [], "at_once": []})").find("later"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"schema": 1, "hosts": ["a"], "pairs": [], "at_once": []})").find("damaged"),
            std::string::npos);
}

TEST(RunComparison, MatricesHaveARowForEachDirection) {
  const auto run = [](double rate) { return parse_run("m", matrix_json(rate)).value(); };

  const Comparison comparison = compare_runs({{run(1e9), run(5e8)}});

  EXPECT_EQ(row(comparison, "a -> b").cells[1].text, "500 MB/s");
  EXPECT_EQ(row(comparison, "a -> b").cells[1].verdict, Verdict::kWorse);
  EXPECT_EQ(row(comparison, "a -> b, all at once").cells[1].verdict, Verdict::kSame);
  EXPECT_EQ(row(comparison, "a -> b read p50").cells[0].text, "20.0 us");
  for (const ComparedRow& found : comparison.rows) EXPECT_NE(found.name.substr(0, 6), "b -> a");
}

TEST(RunFile, WhatIsNoRunIsRefusedWithTheReason) {
  EXPECT_NE(refusal("").find("x.json is not JSON"), std::string::npos);
  EXPECT_NE(refusal(bench_json(1, 1).substr(0, 200)).find("cut short"), std::string::npos);
  EXPECT_NE(refusal("[]").find("is not JSON"), std::string::npos);
  EXPECT_NE(refusal(R"({"schema": 1, "findings": []})").find("is no run"), std::string::npos);
  EXPECT_NE(refusal(R"({"bandwidth": [], "latency": [], "paths": []})").find("schema"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"schema": 2, "bandwidth": [], "latency": [], "paths": []})")
                .find("later Godwit (schema 2"),
            std::string::npos);
  EXPECT_NE(
      refusal(R"({"schema": 1, "session": "a", "status": "b", "rounds": [1]})").find("damaged"),
      std::string::npos);
  EXPECT_NE(
      refusal(R"({"schema": 1, "bandwidth": {}, "latency": [], "paths": []})").find("damaged"),
      std::string::npos);
}

TEST(RunFile, WhatIsDeepIsRefusedBeforeItExhaustsTheStack) {
  constexpr size_t kDepth = 1'000'000;
  const std::string deep = std::string(kDepth, '[') + std::string(kDepth, ']');

  EXPECT_NE(refusal(bench_json(1, 1, R"(, "deep": )" + deep)), "");
}

TEST(RunFile, FileThatCannotBeReadIsNamed) {
  for (const char* path : {"/nonexistent/run.json", "/proc"}) {
    const auto run = read_run(path);

    ASSERT_FALSE(run);
    EXPECT_EQ(run.error().code, Errc::kRefused);
    EXPECT_NE(to_string(run.error()).find(path), std::string::npos);
  }
}

TEST(RunComparison, BandwidthIsTheBestOfItsSizeAndJudgedByTheIntervals) {
  const Comparison same = compare_runs({{bench(1e9, 10), bench(1.01e9, 10)}});
  const Comparison faster = compare_runs({{bench(1e9, 10), bench(1.5e9, 8)}});

  EXPECT_EQ(row(same, "write 1 MiB").cells[0].text, "1.00 GB/s");
  EXPECT_EQ(row(same, "write 1 MiB").cells[1].change, "~");
  EXPECT_EQ(row(same, "write 1 MiB").cells[1].verdict, Verdict::kSame);
  EXPECT_EQ(row(faster, "write 1 MiB").cells[1].change, "+50 %");
  EXPECT_EQ(row(faster, "write 1 MiB").cells[1].verdict, Verdict::kBetter);
  const ComparedRow& latency = row(faster, "read 4 KiB under full load p50");
  EXPECT_EQ(latency.cells[1].change, "-20 %");
  EXPECT_EQ(latency.cells[1].verdict, Verdict::kBetter);
}

TEST(RunComparison, NothingIsConcludedFromNoiseOrWithoutAnInterval) {
  const Comparison comparison = compare_runs({{bench(1e9, 10), bench(1e9, 10)}});

  EXPECT_EQ(row(comparison, "write 4 KiB").cells[1].text, "300 MB/s ?");
  EXPECT_EQ(row(comparison, "write 4 KiB").cells[1].verdict, Verdict::kNone);
  EXPECT_EQ(row(comparison, "read 4 KiB under full load p99").cells[1].verdict, Verdict::kNone);
}

TEST(RunComparison, SizesAreInOrderWhateverWasMeasuredFirst) {
  const Comparison comparison = compare_runs({{bench(1e9, 10)}});

  ASSERT_GE(comparison.rows.size(), 2U);
  EXPECT_EQ(comparison.rows[0].name, "write 4 KiB");
  EXPECT_EQ(comparison.rows[1].name, "write 1 MiB");
}

TEST(RunComparison, MigrationsHaveWhatWasMeasured) {
  const Comparison comparison = compare_runs({{migration(20), migration(30), migration(20.5)}});

  EXPECT_EQ(row(comparison, "outcome").cells[2].text, "completed");
  const ComparedRow& downtime = row(comparison, "downtime");
  EXPECT_EQ(downtime.cells[1].text, "30.0 ms");
  EXPECT_EQ(downtime.cells[1].change, "+50 %");
  EXPECT_EQ(downtime.cells[1].verdict, Verdict::kWorse);
  EXPECT_EQ(downtime.cells[2].verdict, Verdict::kSame);
  EXPECT_EQ(row(comparison, "rounds").cells[0].text, "3");
  for (const ComparedRow& found : comparison.rows) EXPECT_NE(found.name, "page faults");
}

TEST(RunComparison, DowntimeThatPostCopyAvoidedIsNoPrediction) {
  auto with_post_copy = migration(20);
  with_post_copy.document["predicted_downtime_ms"] = 800;
  with_post_copy.document["post_copy"] = {{"faults", 7}, {"vcpu_stall_ms", {1.5, 2.5}}};
  auto without = migration(20);
  without.document["predicted_downtime_ms"] = 18;

  const Comparison comparison = compare_runs({{with_post_copy, without}});

  EXPECT_EQ(row(comparison, "downtime, predicted").cells[0].text, "-");
  EXPECT_EQ(row(comparison, "downtime, predicted").cells[1].text, "18.0 ms");
  EXPECT_EQ(row(comparison, "vCPUs waited for pages").cells[0].text, "4.0 ms");
  EXPECT_EQ(row(comparison, "page faults").cells[1].text, "-");
}

TEST(RunComparison, TextHasAColumnForEachRunAndSaysHowSureItIs) {
  const std::string several =
      render_comparison_text(compare_runs({{migration(20), migration(30)}}));
  const std::string one = render_comparison_text(compare_runs({{migration(20)}}));

  EXPECT_NE(several.find("20.0 ms   30.0 ms  +50 %\n"), std::string::npos) << several;
  EXPECT_NE(several.find("two of the same differ"), std::string::npos);
  EXPECT_NE(one.find("20.0 ms\n"), std::string::npos) << one;
  EXPECT_EQ(one.find("two of the same differ"), std::string::npos);
}

TEST(ReportPage, NothingInARunEndsItsElement) {
  EXPECT_EQ(escape_for_script(R"({"a": "</script><!-- & >"})"),
            R"({"a": "\u003c/script>\u003c!-- & >"})");
  auto run = bench(1e9, 10);
  const std::string harmless = render_report_page({{run}});
  run.name = "</script><script>alert(1)</script>";
  run.document["peer"] = "<!--<script>";
  run.document["{{page.js}}"] = "{{runs}} \xff";

  const std::string page = render_report_page({{run}});

  for (const char* word : {"</script", "<script", "<!--"}) {
    EXPECT_EQ(count(page, word), count(harmless, word)) << word;
  }
  EXPECT_EQ(count(page, "{{runs}}"), 1U) << "what is put in is not looked at";
  const size_t begin = page.find("id=\"runs\">") + 10;
  const auto embedded =
      nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
  EXPECT_EQ(embedded.at("runs").at(0).at("name"), run.name);
  EXPECT_EQ(embedded.at("runs").at(0).at("document").at("peer"), "<!--<script>");
}

TEST(ReportPage, NamesNothingThatWouldHaveToBeLoaded) {
  const std::string page = render_report_page({{migration(20), migration(30)}});

  for (const char* word : {"@import", "url(", "<img", "<link rel=\"stylesheet\""}) {
    EXPECT_EQ(count(page, word), 0U) << word;
  }
  EXPECT_EQ(count(page, "base-uri 'none'"), 1U);
  EXPECT_EQ(count(page, "\"verdict\":\"worse\""), 1U);
}

}  // namespace
}  // namespace godwit::cli
