// SPDX-License-Identifier: Apache-2.0
//
// Post-copy taken up again by another agent, after the one that handed the guest over, or took it,
// has died. What there is to go on from: guest memory, found again by the VMM adapter; and on the
// destination which pages it has (CommitLog::received_pages).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/control_channel.h"
#include "engine/memory/guest_memory.h"
#include "engine/migration/observer.h"
#include "engine/migration/options.h"
#include "engine/page_faults.h"
#include "engine/rail.h"
#include "engine/report.h"

namespace godwit {

// Everything referred to outlives the call.
struct ResumedSource {
  const GuestMemory& memory;
  const std::vector<Rail>& rails;
  MigrationObserver& observer;
  ControlReconnector& reconnector;
};

// Serves guest memory until the destination has all of it.
MigrationReport resume_source(const ResumedSource& parts, const SourceOptions& options);

struct ResumedDestination {
  const GuestMemory& memory;
  PageFaults& faults;                   // armed
  bool committed;                       // false: the source says whether it was
  bool started;                         // the guest has run, and its run state is its owner's
  std::function<Status()> start_guest;  // unless it was; see DestinationPostCopy::Parts
  const std::vector<Rail>& rails;
  MigrationObserver& observer;
  CommitLog& commit_log;
  ControlReconnector& reconnector;
};

// Runs the guest, if it is the destination's and the agent before did not, and fetches what it
// misses.
MigrationReport resume_destination(const ResumedDestination& parts,
                                   const DestinationOptions& options, const std::string& session);

// For a destination that had everything and whose source had not heard of it: waits for that, for
// as long as the options say. The guest is not touched.
MigrationReport resume_farewell(MigrationObserver& observer, ControlReconnector& reconnector,
                                const DestinationOptions& options, const std::string& session);

}  // namespace godwit
