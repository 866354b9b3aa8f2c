// SPDX-License-Identifier: Apache-2.0
#include "engine/report.h"

#include "engine/base/check.h"

namespace godwit {

void note_rail(MigrationReport& report, const std::string& rail, const Error& reason) {
  if (!report.transport_note.empty()) report.transport_note += "; ";
  report.transport_note += fmt::format("{}: {}", rail, to_string(reason));
}

MigrationStatus status_before_commit(const Error& error) {
  if (error.code == Errc::kRefused) return MigrationStatus::kRefused;
  if (error.code == Errc::kCancelled) return MigrationStatus::kCancelled;
  return MigrationStatus::kFailed;
}

const char* to_string(MigrationStatus status) {
  switch (status) {
    case MigrationStatus::kCompleted:
      return "completed";
    case MigrationStatus::kFailed:
      return "failed";
    case MigrationStatus::kCancelled:
      return "cancelled";
    case MigrationStatus::kRefused:
      return "refused";
    case MigrationStatus::kInDoubt:
      return "in-doubt";
  }
  CHECK(false && "a MigrationStatus outside its enumerators");
}

const char* to_string(RoundKind kind) {
  switch (kind) {
    case RoundKind::kLive:
      return "live";
    case RoundKind::kQuiesced:
      return "quiesced";
    case RoundKind::kFinal:
      return "final";
  }
  CHECK(false && "a RoundKind outside its enumerators");
}

}  // namespace godwit
