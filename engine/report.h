// SPDX-License-Identifier: Apache-2.0
//
// What a migration tells the outside: Progress while it runs, MigrationReport when it is over.
// Plain values that the engine fills and the program renders (docs/json.md describes the
// rendering); a field that was never measured keeps its zero.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"

namespace godwit {

// The version of the report's meaning. Fields may be added under the same number; one that is
// removed, or means something else, raises it.
inline constexpr int kReportSchema = 1;

// How a migration ended, as its own agent knows it.
enum class MigrationStatus : uint8_t {
  kCompleted = 1,  // the guest runs on the destination
  kFailed = 2,     // the guest runs on the source
  kCancelled = 3,  // the user stopped it; the guest runs on the source
  kRefused = 4,    // found impossible before anything was touched; the guest runs on the source
  kInDoubt = 5,    // committed, but the destination's answer is missing: docs/in-doubt.md
};

// How a migration ended that this error ended before the commit.
MigrationStatus status_before_commit(const Error& error);

// Who could write guest memory while a round's pages were found.
enum class RoundKind : uint8_t {
  kLive = 1,      // the guest ran
  kQuiesced = 2,  // the guest stood still for the scan, and ran on while the pages travelled
  kFinal = 3,     // the guest stood still for good
};

struct RoundReport {
  RoundKind kind = RoundKind::kLive;
  uint64_t dirty_pages = 0;  // found at the start of the round (the first: all that are not holes)
  uint64_t bytes = 0;        // payload sent
  double ms = 0;
  double pause_ms = 0;  // how long the guest stood still because of this round
  double start_ms = 0;  // when its first page could leave, since the migration began
};

// One moment of a migration.
struct TimelineSample {
  double ms = 0;            // since the migration began
  uint32_t round = 0;       // 0: of none
  uint64_t bytes_sent = 0;  // by then; what post-copy fetched is in it
  uint64_t bytes_remaining = 0;
  double dirty_bytes_per_s = 0;
  double predicted_downtime_ms = 0;
  std::vector<uint64_t> rail_bytes_sent;  // by then, as MigrationReport::rails; empty: not known
  uint64_t faults = 0;                    // by then, and of all of them:
  double fault_p50_us = 0;
  double fault_p99_us = 0;
};

// How a migration went: the states that its agent went through, and samples in between. Both are
// bounded, however long it took.
struct Timeline {
  struct Phase {
    std::string state;
    double start_ms = 0;  // since the migration began
  };
  std::vector<Phase> phases;
  std::vector<TimelineSample> samples;
};

// What one rail did (engine/rail.h).
struct RailReport {
  std::string name;
  std::string transport;
  int32_t numa_node = -1;
  uint64_t bytes_sent = 0;
  uint64_t helped_bytes = 0;  // of these, pages that another rail is nearer to
  uint32_t losses = 0;        // of its lanes, and attempts to open one
  uint32_t slowdowns = 0;     // how often a lane of it became much slower than it had been
  std::string last_loss;      // empty without one
  double recovery_ms = 0;     // the longest: from noticing a loss to others having its pages
};

// The end-to-end proof: both sides hash all of guest memory and compare.
struct VerifyReport {
  uint64_t checked_bytes = 0;
  uint64_t mismatches = 0;  // of 2 MiB pieces
};

// The part of a migration in which the guest ran before all its memory was there, as the
// destination saw it.
struct PostCopyReport {
  uint64_t missing_bytes = 0;     // at the switchover
  uint64_t faults = 0;            // first touches that somebody waited at
  uint64_t faults_fetched = 0;    // of these, those of pages that were not even on their way
  uint64_t fault_bytes = 0;       // fetched because somebody waited
  uint64_t background_bytes = 0;  // the rest
  uint64_t zero_pages = 0;        // that were missing, and needed no fetching
  double fault_p50_us = 0;        // from reading the fault to the page being within reach
  double fault_p90_us = 0;
  double fault_p99_us = 0;
  double fault_max_us = 0;
  // For how long each vCPU waited for missing pages altogether, by its number and up to the last
  // one that waited; and all other threads of the VMM, the kernel on its behalf included.
  std::vector<double> vcpu_stall_ms;
  double other_stall_ms = 0;
  std::string fault_urgency;  // to_string(Urgency) of the threads that served the faults
  double ms = 0;              // from the switchover to the last page
  uint32_t reconnects = 0;    // of a lost connection
  // Of the destination: all is here, and the source could not be told.
  bool source_waits = false;
};

struct MigrationReport {
  std::string session;
  MigrationStatus status = MigrationStatus::kFailed;
  std::string mode;            // "direct", "channel"
  std::string transport;       // "tcp", "rdma": what carried most
  std::string transport_note;  // why it is not the one that was asked for; else empty
  std::string security;        // ControlChannel::security()
  bool insecure = false;       // neither encrypted nor authenticated

  double downtime_ms = 0;
  double predicted_downtime_ms = 0;
  double downtime_start_ms = 0;  // when the guest stopped for good, since the migration began
  double total_ms = 0;           // setup included
  double setup_ms = 0;           // until the first page could leave

  uint64_t ram_bytes = 0;
  uint64_t bytes_sent = 0;    // payload of all lanes, pages sent again included
  uint64_t placed_bytes = 0;  // channel mode: of these, pages put into guest memory past the VMM
  uint64_t pages_sent = 0;
  uint64_t zero_pages = 0;
  uint64_t torn_pages = 0;  // written under a checksum, and sent again
  uint64_t hole_bytes = 0;
  uint64_t device_state_bytes = 0;
  double throughput_bytes_per_s = 0;  // bytes_sent over the time in which pages travelled
  double cpu_seconds = 0;             // this agent's, user and system, all threads

  std::vector<RailReport> rails;  // of the source
  std::vector<RoundReport> rounds;
  Timeline timeline;
  double predicted_total_ms = 0;  // when the last round before post-copy began; 0 without it
  std::optional<PostCopyReport> post_copy;
  std::string post_copy_note;          // why there was none although it was wanted; else empty
  std::optional<VerifyReport> verify;  // only when it was asked for
  std::optional<Error> error;          // only when status is not kCompleted
};

// Adds to transport_note why a rail was not used, or not all the time.
void note_rail(MigrationReport& report, const std::string& rail, const Error& reason);

struct Progress {
  std::string phase;  // "pre-copy round 3", "switching over"
  uint64_t bytes_sent = 0;
  uint64_t bytes_remaining = 0;
  double throughput_bytes_per_s = 0;
  double dirty_bytes_per_s = 0;
  double predicted_downtime_ms = 0;
  uint32_t round = 0;  // 1 is the first
  // Of the source in pre-copy.
  uint64_t ram_bytes = 0;
  uint64_t torn_pages = 0;        // until the last round that is over
  std::vector<RailReport> rails;  // so far
  // In post-copy.
  uint64_t faults = 0;
  double fault_p50_us = 0;
  double fault_p99_us = 0;
  uint32_t reconnects = 0;  // of a lost connection
};

// "completed", "live": the words of the JSON report.
const char* to_string(MigrationStatus status);
const char* to_string(RoundKind kind);

}  // namespace godwit
