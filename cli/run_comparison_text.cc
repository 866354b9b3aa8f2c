// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>

#include "cli/run_comparison.h"

namespace godwit::cli {
namespace {

constexpr size_t kGap = 3;

std::string words_of(const ComparedCell& cell) {
  return cell.change.empty() ? cell.text : fmt::format("{} {:>6}", cell.text, cell.change);
}

}  // namespace

std::string render_comparison_text(const Comparison& comparison) {
  size_t name_width = 0;
  std::vector<size_t> widths;
  for (const std::string& column : comparison.columns) widths.push_back(column.size());
  for (const ComparedRow& row : comparison.rows) {
    name_width = std::max(name_width, row.name.size());
    for (size_t i = 0; i < row.cells.size(); ++i)
      widths[i] = std::max(widths[i], words_of(row.cells[i]).size());
  }
  std::string text = std::string(name_width, ' ');
  for (size_t i = 0; i < comparison.columns.size(); ++i)
    text += fmt::format("{:>{}}", comparison.columns[i], widths[i] + kGap);
  text += "\n";
  for (const ComparedRow& row : comparison.rows) {
    text += fmt::format("{:<{}}", row.name, name_width);
    for (size_t i = 0; i < row.cells.size(); ++i)
      text += fmt::format("{:>{}}", words_of(row.cells[i]), widths[i] + kGap);
    text += "\n";
  }
  return text + (comparison.columns.size() > 1 ? "\n" + comparison.note + "\n" : "");
}

}  // namespace godwit::cli
