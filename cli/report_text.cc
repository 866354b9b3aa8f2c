// SPDX-License-Identifier: Apache-2.0
#include "cli/report_text.h"

#include <algorithm>
#include <numeric>

#include "cli/units.h"
#include "engine/base/check.h"
#include "engine/base/thread_priority.h"
#include "engine/base/units.h"

namespace godwit::cli {
namespace {

std::string error_text(const MigrationReport& report) {
  return report.error ? to_string(*report.error) : "no reason given";
}

std::string render_completed(const MigrationReport& report, SessionRole role,
                             const std::string& peer) {
  if (role == SessionRole::kDestination) {
    const bool source_waits = report.post_copy && report.post_copy->source_waits;
    return fmt::format("The guest arrived from {} and runs here, after {}.\n", peer,
                       format_milliseconds(report.total_ms)) +
           (source_waits ? fmt::format("All its memory is here, which the source has not heard: "
                                       "`godwit resume {}` tells it when it comes back.\n",
                                       report.session)
                         : std::string());
  }
  const std::string predicted =
      report.predicted_downtime_ms == 0
          ? ""
          : fmt::format(" ({} was predicted)", format_milliseconds(report.predicted_downtime_ms));
  return fmt::format("The guest runs on {} now. Moved in {}; it stood still for {}{}.\n", peer,
                     format_milliseconds(report.total_ms), format_milliseconds(report.downtime_ms),
                     predicted);
}

std::string describe_memory(const MigrationReport& report) {
  const double times = report.ram_bytes == 0 ? 0
                                             : static_cast<double>(report.bytes_sent) /
                                                   static_cast<double>(report.ram_bytes);
  const std::string sent =
      fmt::format("  memory     {}; sent {} ({:.2f} times)", format_bytes(report.ram_bytes),
                  format_bytes(report.bytes_sent), times);
  const std::string rate = format_rate(report.throughput_bytes_per_s);
  if (report.mode == "channel")
    return fmt::format("{} at {}, {} of it past QEMU into guest memory\n", sent, rate,
                       format_bytes(report.placed_bytes));
  return fmt::format("{} in {} rounds at {}\n             not sent: {} never used, {} zero\n", sent,
                     report.rounds.size(), rate, format_bytes(report.hole_bytes),
                     format_bytes(report.zero_pages * kBasePageBytes));
}

std::string render_stalls(const PostCopyReport& post_copy) {
  const std::vector<double>& vcpus = post_copy.vcpu_stall_ms;
  if (vcpus.empty() && post_copy.other_stall_ms == 0) return "";
  std::string text = "             waited for missing pages:";
  if (!vcpus.empty()) {
    const auto most = std::max_element(vcpus.begin(), vcpus.end());
    text += fmt::format(" vCPUs {} altogether, vCPU {} the most ({});",
                        format_milliseconds(std::accumulate(vcpus.begin(), vcpus.end(), 0.0)),
                        most - vcpus.begin(), format_milliseconds(*most));
  }
  return text + fmt::format(" other threads {}\n", format_milliseconds(post_copy.other_stall_ms));
}

std::string render_post_copy(const PostCopyReport& post_copy) {
  std::string text = fmt::format(
      "  post-copy  {} fetched while it ran there, in {}; {} page faults, p50 {:.0f} us, p99 "
      "{:.0f} us\n",
      format_bytes(post_copy.missing_bytes != 0
                       ? post_copy.missing_bytes
                       : post_copy.fault_bytes + post_copy.background_bytes),
      format_milliseconds(post_copy.ms), post_copy.faults, post_copy.fault_p50_us,
      post_copy.fault_p99_us);
  text += render_stalls(post_copy);
  if (!post_copy.fault_urgency.empty() &&
      post_copy.fault_urgency != to_string(Urgency::kRealTime)) {
    text +=
        "             faults were served without real-time priority (CAP_SYS_NICE), which takes "
        "longer on busy CPUs\n";
  }
  if (post_copy.reconnects > 0)
    text += fmt::format("             the connection was lost and replaced {} times\n",
                        post_copy.reconnects);
  return text;
}

// QEMU's own post-copy, of which it says little.
std::string render_post_copy_of_vmm(const PostCopyReport& post_copy, SessionRole role) {
  if (role == SessionRole::kSource)
    return fmt::format(
        "  post-copy  at most {} fetched while it ran there, in {}; QEMU was asked for {} pages\n",
        format_bytes(post_copy.missing_bytes), format_milliseconds(post_copy.ms), post_copy.faults);
  return fmt::format(
      "  post-copy  all was there after {}; {} pages asked for were read from the source's "
      "memory\n",
      format_milliseconds(post_copy.ms), post_copy.faults);
}

std::string render_figures(const MigrationReport& report, SessionRole role) {
  std::string text;
  if (role == SessionRole::kSource) text += describe_memory(report);
  text += fmt::format("  way        {} mode over {}{}{}; control connection: {}\n",
                      report.mode.empty() ? "direct" : report.mode, report.transport,
                      report.transport_note.empty() ? "" : ", ", report.transport_note,
                      report.security);
  if (report.post_copy)
    text += report.mode == "channel" ? render_post_copy_of_vmm(*report.post_copy, role)
                                     : render_post_copy(*report.post_copy);
  if (!report.post_copy_note.empty())
    text += fmt::format("  post-copy  not used: {}\n", report.post_copy_note);
  if (report.verify) {
    text += fmt::format("  verified   {}, {} differences\n",
                        format_bytes(report.verify->checked_bytes), report.verify->mismatches);
  }
  text += fmt::format("  processor  {:.2f} s in this agent\n", report.cpu_seconds);
  return text;
}

const char* where_guest_is(SessionRole role) {
  return role == SessionRole::kSource ? "The guest runs on here." : "The guest runs on the source.";
}

// Handed over, with memory on both hosts.
std::string render_unfinished(const MigrationReport& report, SessionRole role,
                              const std::string& peer) {
  std::string text = fmt::format("Post-copy is not finished: {}\n", error_text(report));
  text += role == SessionRole::kSource
              ? fmt::format(
                    "The guest is {}'s, and part of its memory is still here: leave QEMU "
                    "as it is.\n",
                    peer)
              : "The guest is here, and waits where it touches memory that is not: leave QEMU as "
                "it is.\n";
  if (report.error && report.error->code == Errc::kGuest)
    text +=
        "If its QEMU has ended, it is lost; the source has its memory as it was when it left.\n";
  if (report.mode == "channel")
    return text + fmt::format(
                      "docs/channel.md says how QEMU goes on with it. Session {} is kept (`godwit "
                      "status`) until it is removed.\n",
                      report.session);
  return text + fmt::format("`godwit resume {}` goes on with it.\n", report.session);
}

std::string render_in_doubt(const MigrationReport& report, SessionRole role,
                            const std::string& peer) {
  if (report.post_copy) return render_unfinished(report, role, peer);
  std::string text = fmt::format("The outcome is not known here: {}\n", error_text(report));
  text += role == SessionRole::kSource
              ? fmt::format(
                    "The guest stands still here, and belongs to {}. Look there: does it run? Only "
                    "when it is certain that it never will may it be resumed here.\n",
                    peer)
              : fmt::format(
                    "The guest stands still here, complete. Look at {}: only when it is certain "
                    "that it does not run there, and never will, may it be started here.\n",
                    peer);
  text +=
      fmt::format("Session {} is kept (`godwit status`); docs/in-doubt.md says how to settle it.\n",
                  report.session);
  return text;
}

}  // namespace

ExitCode exit_code_of(MigrationStatus status) {
  switch (status) {
    case MigrationStatus::kCompleted:
      return ExitCode::kCompleted;
    case MigrationStatus::kFailed:
    case MigrationStatus::kCancelled:
      return ExitCode::kFailed;
    case MigrationStatus::kRefused:
      return ExitCode::kRefused;
    case MigrationStatus::kInDoubt:
      return ExitCode::kInDoubt;
  }
  CHECK(false && "a MigrationStatus outside its enumerators");
}

MigrationStatus status_of(const Error& error) {
  return error.code == Errc::kInDoubt ? MigrationStatus::kInDoubt : status_before_commit(error);
}

std::string render_report_text(const MigrationReport& report, SessionRole role,
                               const std::string& peer) {
  switch (report.status) {
    case MigrationStatus::kCompleted:
      return render_completed(report, role, peer) + render_figures(report, role);
    case MigrationStatus::kFailed:
      return fmt::format("Failed: {}\n{}\n", error_text(report), where_guest_is(role));
    case MigrationStatus::kCancelled:
      return fmt::format("Cancelled. {}\n", where_guest_is(role));
    case MigrationStatus::kRefused:
      return fmt::format("Refused: {}\nNothing was touched. {}\n", error_text(report),
                         where_guest_is(role));
    case MigrationStatus::kInDoubt:
      return render_in_doubt(report, role, peer);
  }
  CHECK(false && "a MigrationStatus outside its enumerators");
}

}  // namespace godwit::cli
