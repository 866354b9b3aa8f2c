// SPDX-License-Identifier: Apache-2.0
#include "engine/session/session_record.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>

#include "engine/base/check.h"

namespace godwit {
namespace {

constexpr std::string_view kFirstLine = "godwit-session 1";
constexpr std::string_view kLastLine = "end";

// Values come from peers and users: nothing in them may look like the end of a line.
std::string printable(std::string_view value) {
  std::string result(value);
  std::replace_if(
      result.begin(), result.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return result;
}

using Fields = std::map<std::string_view, std::string_view>;

Result<Fields> split_lines(std::string_view text) {
  Fields fields;
  bool first = true;
  while (!text.empty()) {
    size_t end = text.find('\n');
    if (end == std::string_view::npos) break;
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (first && line != kFirstLine) break;
    if (!first && line == kLastLine) return fields;
    if (!first) {
      size_t equals = line.find('=');
      if (equals == std::string_view::npos) break;
      fields[line.substr(0, equals)] = line.substr(equals + 1);
    }
    first = false;
  }
  return fail(Errc::kCorrupt, "not a session file of this version, or cut short");
}

template <typename Number>
Status read_number(const Fields& fields, std::string_view name, Number& value) {
  auto field = fields.find(name);
  if (field == fields.end()) return fail(Errc::kCorrupt, "session file: '{}' is missing", name);
  const char* end = field->second.data() + field->second.size();
  auto parsed = std::from_chars(field->second.data(), end, value);
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    return fail(Errc::kCorrupt, "session file: '{}' is not a number: '{}'", name, field->second);
  }
  return {};
}

Status read_role(const Fields& fields, SessionRole& role) {
  auto field = fields.find("role");
  if (field != fields.end()) {
    for (SessionRole candidate : {SessionRole::kSource, SessionRole::kDestination}) {
      if (field->second != to_string(candidate)) continue;
      role = candidate;
      return {};
    }
  }
  return fail(Errc::kCorrupt, "session file: no valid role");
}

Status read_yes_no(const Fields& fields, std::string_view name, bool& value) {
  auto field = fields.find(name);
  if (field == fields.end() || (field->second != "yes" && field->second != "no")) {
    return fail(Errc::kCorrupt, "session file: '{}' is neither yes nor no", name);
  }
  value = field->second == "yes";
  return {};
}

std::string text_or_empty(const Fields& fields, std::string_view name) {
  auto field = fields.find(name);
  return field == fields.end() ? std::string() : std::string(field->second);
}

}  // namespace

const char* to_string(SessionRole role) {
  switch (role) {
    case SessionRole::kSource:
      return "source";
    case SessionRole::kDestination:
      return "destination";
  }
  CHECK(false && "a SessionRole outside its enumerators");
}

Result<std::string> new_session_id() {
  uint64_t number = 0;
  if (::getrandom(&number, sizeof number, 0) != sizeof number) {
    return fail_errno(errno, "get 8 random bytes for a session's name");
  }
  return fmt::format("{:016x}", number);
}

bool is_session_id(std::string_view text) {
  return text.size() == 16 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

std::string encode_session_record(const SessionRecord& record) {
  const Progress& progress = record.progress;
  return fmt::format(
      "{}\nsession={}\nrole={}\npid={}\nstart_ticks={}\nstate={}\npeer={}\nguest={}\n"
      "committed={}\nstarted={}\n"
      "phase={}\nround={}\nbytes_sent={}\nbytes_remaining={}\nthroughput_bytes_per_s={}\n"
      "dirty_bytes_per_s={}\npredicted_downtime_ms={}\n"
      "faults={}\nfault_p50_us={}\nfault_p99_us={}\n{}\n",
      kFirstLine, record.session, to_string(record.role), record.agent.pid,
      record.agent.start_ticks, printable(record.state), printable(record.peer),
      printable(record.guest), record.committed ? "yes" : "no", record.started ? "yes" : "no",
      printable(progress.phase), progress.round, progress.bytes_sent, progress.bytes_remaining,
      progress.throughput_bytes_per_s, progress.dirty_bytes_per_s, progress.predicted_downtime_ms,
      progress.faults, progress.fault_p50_us, progress.fault_p99_us, kLastLine);
}

Result<SessionRecord> parse_session_record(std::string_view text) {
  ASSIGN_OR_RETURN(Fields fields, split_lines(text));
  SessionRecord record;
  record.session = text_or_empty(fields, "session");
  if (!is_session_id(record.session)) {
    return fail(Errc::kCorrupt, "session file: no valid session name");
  }
  RETURN_IF_ERROR(read_role(fields, record.role));
  RETURN_IF_ERROR(read_number(fields, "pid", record.agent.pid));
  RETURN_IF_ERROR(read_number(fields, "start_ticks", record.agent.start_ticks));
  RETURN_IF_ERROR(read_yes_no(fields, "committed", record.committed));
  RETURN_IF_ERROR(read_yes_no(fields, "started", record.started));
  record.state = text_or_empty(fields, "state");
  record.peer = text_or_empty(fields, "peer");
  record.guest = text_or_empty(fields, "guest");

  Progress& progress = record.progress;
  progress.phase = text_or_empty(fields, "phase");
  RETURN_IF_ERROR(read_number(fields, "round", progress.round));
  RETURN_IF_ERROR(read_number(fields, "bytes_sent", progress.bytes_sent));
  RETURN_IF_ERROR(read_number(fields, "bytes_remaining", progress.bytes_remaining));
  RETURN_IF_ERROR(read_number(fields, "throughput_bytes_per_s", progress.throughput_bytes_per_s));
  RETURN_IF_ERROR(read_number(fields, "dirty_bytes_per_s", progress.dirty_bytes_per_s));
  RETURN_IF_ERROR(read_number(fields, "predicted_downtime_ms", progress.predicted_downtime_ms));
  RETURN_IF_ERROR(read_number(fields, "faults", progress.faults));
  RETURN_IF_ERROR(read_number(fields, "fault_p50_us", progress.fault_p50_us));
  RETURN_IF_ERROR(read_number(fields, "fault_p99_us", progress.fault_p99_us));
  return record;
}

}  // namespace godwit
