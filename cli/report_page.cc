// SPDX-License-Identifier: Apache-2.0
#include "cli/report_page.h"

#include <map>

#include "cli/page_parts.h"
#include "cli/run_comparison.h"
#include "engine/base/check.h"

namespace godwit::cli {
namespace {

using Json = nlohmann::ordered_json;

Json comparison_json(const Comparison& comparison) {
  Json rows = Json::array();
  for (const ComparedRow& row : comparison.rows) {
    Json cells = Json::array();
    for (const ComparedCell& cell : row.cells)
      cells.push_back(
          {{"text", cell.text}, {"change", cell.change}, {"verdict", to_string(cell.verdict)}});
    rows.push_back({{"name", row.name}, {"cells", std::move(cells)}});
  }
  return {{"columns", comparison.columns}, {"rows", std::move(rows)}, {"note", comparison.note}};
}

Json page_json(std::span<const Run> runs) {
  Json list = Json::array();
  for (const Run& run : runs)
    list.push_back({{"name", run.name}, {"kind", to_string(run.kind)}, {"document", run.document}});
  return {{"runs", std::move(list)},
          {"comparison", runs.size() > 1 ? comparison_json(compare_runs(runs)) : Json()}};
}

// Puts each part where its name stands in braces. What is put in is not looked at.
std::string fill_in(std::string_view page,
                    const std::map<std::string_view, std::string_view>& parts) {
  std::string filled;
  while (true) {
    const size_t begin = page.find("{{");
    filled += page.substr(0, begin);
    if (begin == std::string_view::npos) return filled;
    const size_t end = page.find("}}", begin);
    CHECK(end != std::string_view::npos);
    filled += parts.at(page.substr(begin + 2, end - begin - 2));
    page.remove_prefix(end + 2);
  }
}

}  // namespace

std::string escape_for_script(std::string_view json) {
  std::string escaped;
  for (const char letter : json) {
    // Outside of JSON's strings it does not occur, and in them this is the same.
    if (letter == '<') {
      escaped += "\\u003c";
    } else {
      escaped += letter;
    }
  }
  return escaped;
}

std::string render_own_page(std::string_view document) {
  const Result<Run> run = parse_run("this run", document);
  CHECK(run);
  return render_report_page({&*run, 1});
}

std::string render_report_page(std::span<const Run> runs) {
  CHECK(!runs.empty());
  const std::string json =
      escape_for_script(page_json(runs).dump(-1, ' ', false, Json::error_handler_t::replace));
  return fill_in(kPageParts.frame, {{"page.css", kPageParts.style},
                                    {"page.js", kPageParts.scripts},
                                    {"library.css", kPageParts.library_style},
                                    {"library.js", kPageParts.library_script},
                                    {"runs", json}});
}

}  // namespace godwit::cli
