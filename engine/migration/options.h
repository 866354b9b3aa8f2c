// SPDX-License-Identifier: Apache-2.0
//
// Every tunable of a migration, with its unit and default.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/time.h"
#include "engine/base/units.h"
#include "engine/precopy/policy.h"
#include "engine/wire/messages.h"

namespace godwit {

// Whether the guest stands still, with its block I/O landed, for the scans. kOff is for the
// negative control in the tests only: device DMA in flight is lost without it.
enum class Quiescing : uint8_t { kOn = 1, kOff = 2 };

// The lanes for this machine: enough to fill the link, leaving cores to the guest. Never one alone:
// the scan and checksums of one lane's pages overlap the sending of the other's.
uint32_t default_lane_count();

// Whether the guest may run on the destination before all its memory is there.
enum class PostCopy : uint8_t {
  kNever = 1,
  kAuto = 2,  // when pre-copy does not end by itself within a few rounds
  kNow = 3,   // before any of it is
};

struct SourceOptions {
  std::string session;   // 16 hex digits
  std::string software;  // name and version, for the other side's messages
  uint32_t lanes = 0;    // 0 = default_lane_count()
  precopy::PolicyLimits limits;
  uint64_t bandwidth_limit_bytes_per_s = 0;  // 0 = unlimited
  Verification verification = Verification::kOff;
  Quiescing quiescing = Quiescing::kOn;
  PostCopy post_copy = PostCopy::kNever;
  // How long a connection that is lost in post-copy is tried to be replaced. Both hosts are needed
  // to go on, so by default for ever.
  Clock::duration reconnect_for = Clock::duration::max();
  Clock::duration peer_timeout = seconds(10);  // silence after which the peer counts as lost
};

struct DestinationOptions {
  std::string software;
  uint64_t device_state_bytes_max = 256 * kMiB;
  Verification verification = Verification::kOff;  // kOn: a source that does not verify is refused
  Clock::duration reconnect_for = Clock::duration::max();  // as SourceOptions
  Clock::duration peer_timeout = seconds(10);
};

}  // namespace godwit
