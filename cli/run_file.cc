// SPDX-License-Identifier: Apache-2.0
#include "cli/run_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <initializer_list>

#include "cli/bench_json.h"
#include "cli/matrix_json.h"
#include "engine/base/check.h"
#include "engine/base/unique_fd.h"
#include "engine/base/units.h"
#include "engine/report.h"

namespace godwit::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kRunBytesMax = 64 * kMiB;
// Ours are half as deep. What is much deeper would exhaust the stack of whoever walks through it.
constexpr int kRunDepthMax = 16;

Error refused(Error error) {
  error.code = Errc::kRefused;
  return error;
}

Result<std::string> read_file(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid())
    return tl::unexpected<Error>(refused(fail_errno(errno, "open {}", path).value()));
  std::string text;
  std::array<char, 64 * kKiB> piece;
  while (true) {
    const ssize_t size = ::read(file.get(), piece.data(), piece.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return tl::unexpected<Error>(refused(fail_errno(errno, "read {}", path).value()));
    if (size == 0) return text;
    text.append(piece.data(), static_cast<size_t>(size));
    if (text.size() > kRunBytesMax)
      return fail(Errc::kRefused, "{} is larger than any run of Godwit", path);
  }
}

bool has_all(const Json& json, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (!json.contains(name)) return false;
  }
  return true;
}

Status check_schema(const std::string& name, const Json& json, int known) {
  const auto schema = json.find("schema");
  if (schema == json.end() || !schema->is_number_integer())
    return fail(Errc::kRefused, "{} does not say its schema", name);
  if (*schema > known)
    return fail(Errc::kRefused,
                "{} was written by a later Godwit (schema {}, and this one knows {}): use that one",
                name, schema->dump(), known);
  return {};
}

Status check_lists(const std::string& name, const Json& json,
                   std::initializer_list<const char*> lists) {
  for (const char* list : lists) {
    const Json& elements = json.at(list);
    bool good = elements.is_array();
    for (const Json& element : elements) good = good && element.is_object();
    if (!good) return fail(Errc::kRefused, "{} is damaged: '{}' is no list of results", name, list);
  }
  return {};
}

}  // namespace

const char* to_string(RunKind kind) {
  switch (kind) {
    case RunKind::kBench:
      return "bench";
    case RunKind::kMigration:
      return "migration";
    case RunKind::kMatrix:
      return "matrix";
  }
  CHECK(false && "a RunKind outside its enumerators");
}

Result<Run> parse_run(const std::string& name, std::string_view text) {
  bool too_deep = false;
  const auto limit_depth = [&](int depth, Json::parse_event_t, const Json&) {
    too_deep = too_deep || depth > kRunDepthMax;
    return !too_deep;
  };
  Json json = Json::parse(text, limit_depth, /*allow_exceptions=*/false);
  if (json.is_discarded() || too_deep || !json.is_object())
    return fail(Errc::kRefused, "{} is not JSON, or cut short: give what --json wrote", name);
  if (has_all(json, {"bandwidth", "latency", "paths"})) {
    RETURN_IF_ERROR(check_schema(name, json, kBenchSchema));
    RETURN_IF_ERROR(check_lists(name, json, {"bandwidth", "latency", "paths"}));
    return Run{name, RunKind::kBench, std::move(json)};
  }
  if (has_all(json, {"hosts", "pairs", "at_once"})) {
    RETURN_IF_ERROR(check_schema(name, json, kMatrixSchema));
    RETURN_IF_ERROR(check_lists(name, json, {"hosts", "pairs", "at_once"}));
    return Run{name, RunKind::kMatrix, std::move(json)};
  }
  if (has_all(json, {"session", "status", "rounds"})) {
    RETURN_IF_ERROR(check_schema(name, json, kReportSchema));
    RETURN_IF_ERROR(check_lists(name, json, {"rounds"}));
    return Run{name, RunKind::kMigration, std::move(json)};
  }
  return fail(Errc::kRefused,
              "{} is no run: give what `godwit bench`, `send` or `receive` wrote by --json", name);
}

Result<Run> read_run(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, read_file(path));
  return parse_run(path, text);
}

}  // namespace godwit::cli
