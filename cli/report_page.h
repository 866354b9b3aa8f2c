// SPDX-License-Identifier: Apache-2.0
//
// Runs as one page of HTML that needs nothing else: no network, no other file. The page draws
// itself from the documents that --json writes (cli/page).
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/run_file.h"

namespace godwit::cli {

// JSON as it may stand in a <script>: the same document, whatever its texts contain, without the
// one character that could end the element or begin a comment there.
std::string escape_for_script(std::string_view json);

// Of the run whose --json is `document`. Requires: it is one that this program has just rendered.
std::string render_own_page(std::string_view document);

// All runs are of one kind. Requires: at least one run.
std::string render_report_page(std::span<const Run> runs);

}  // namespace godwit::cli
