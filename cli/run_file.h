// SPDX-License-Identifier: Apache-2.0
//
// A run that was written down: what --json of `godwit bench`, `bench matrix`, `send` or `receive`
// wrote.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/base/result.h"

namespace godwit::cli {

enum class RunKind : uint8_t { kBench = 1, kMigration = 2, kMatrix = 3 };
// "bench", "migration", "matrix".
const char* to_string(RunKind kind);

struct Run {
  std::string name;  // for people: the file's
  RunKind kind = RunKind::kBench;
  // Has the lists of its kind, of objects. Nothing else is certain but that it is no deeper than
  // what this program writes.
  nlohmann::ordered_json document;
};

// `name` is for the error, too. Errors: kRefused: it is no run, cut short or of a later version.
Result<Run> parse_run(const std::string& name, std::string_view text);

// Errors: kRefused, also where the file cannot be read.
Result<Run> read_run(const std::string& path);

}  // namespace godwit::cli
