// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/resume.h"

#include <memory>

#include "engine/migration/cpu_time.h"
#include "engine/migration/destination_post_copy.h"
#include "engine/migration/farewell.h"
#include "engine/migration/source_post_copy.h"
#include "engine/migration/states.h"

namespace godwit {
namespace {

MigrationReport begin_report(const std::string& session, const GuestMemory& memory,
                             const std::vector<Rail>& rails) {
  MigrationReport report;
  report.session = session;
  report.transport = rails.front().transport->capabilities().name;
  report.ram_bytes = total_bytes(memory);
  report.post_copy.emplace();
  return report;
}

void end_report(MigrationReport& report, const Status& status, Clock::time_point begin) {
  report.status = status ? MigrationStatus::kCompleted : MigrationStatus::kInDoubt;
  if (!status) report.error = status.error();
  report.total_ms = to_milliseconds(Clock::now() - begin);
  report.cpu_seconds = process_cpu_seconds();
}

}  // namespace

MigrationReport resume_farewell(MigrationObserver& observer, ControlReconnector& reconnector,
                                const DestinationOptions& options, const std::string& session) {
  const Clock::time_point begin = Clock::now();
  observer.on_state(to_string(DestinationState::kCompleted));
  const Result<bool> told = tell_whoever_comes(
      reconnector, {session, options.software, options.peer_timeout},
      options.reconnect_for == Clock::duration::max() ? Deadline::max()
                                                      : deadline_in(options.reconnect_for));
  MigrationReport report;
  report.session = session;
  report.post_copy.emplace().source_waits = !told.value_or(false);
  end_report(report, {}, begin);
  return report;
}

MigrationReport resume_source(const ResumedSource& parts, const SourceOptions& options) {
  const Clock::time_point begin = Clock::now();
  MigrationReport report = begin_report(options.session, parts.memory, parts.rails);
  SourcePostCopy post_copy({.memory = parts.memory,
                            .rails = parts.rails,
                            .observer = parts.observer,
                            .reconnector = &parts.reconnector,
                            .report = report},
                           options);
  std::unique_ptr<ControlLink> no_link;
  const Status status = post_copy.run(no_link);
  if (!status) parts.observer.on_state(to_string(SourceState::kInDoubt));
  end_report(report, status, begin);
  return report;
}

MigrationReport resume_destination(const ResumedDestination& parts,
                                   const DestinationOptions& options, const std::string& session) {
  const Clock::time_point begin = Clock::now();
  MigrationReport report = begin_report(session, parts.memory, parts.rails);
  DestinationPostCopy post_copy({.memory = parts.memory,
                                 .start_guest = parts.start_guest,
                                 .rails = parts.rails,
                                 .observer = parts.observer,
                                 .commit_log = parts.commit_log,
                                 .reconnector = &parts.reconnector,
                                 .report = report},
                                options);
  std::unique_ptr<ControlLink> no_link;
  std::unique_ptr<DestinationLanes> no_lanes;
  const auto guest = parts.started     ? DestinationPostCopy::Guest::kStarted
                     : parts.committed ? DestinationPostCopy::Guest::kCommitted
                                       : DestinationPostCopy::Guest::kUncommitted;
  Status status = post_copy.adopt(parts.faults);
  if (status) status = post_copy.run(session, guest, no_link, no_lanes);
  parts.observer.on_state(
      to_string(status ? DestinationState::kCompleted : DestinationState::kInDoubt));
  end_report(report, status, begin);
  return report;
}

}  // namespace godwit
