// SPDX-License-Identifier: Apache-2.0
//
// The destination's ends of the rails: where lanes connect to, and guest memory as each of them
// knows it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/guest_memory.h"
#include "engine/rail.h"
#include "engine/report.h"
#include "engine/transport.h"
#include "engine/wire/messages.h"

namespace godwit {

struct DestinationRails {
  // All three in the same order.
  std::vector<AcceptedRail> accepted;
  std::vector<std::unique_ptr<Listener>> listeners;
  std::vector<std::vector<std::unique_ptr<MemoryRegion>>> regions;  // by rail and block

  // Opens our end of every rail whose transport is in `offered`. One that does not work is noted in
  // the report; the others may do. Errors: when there is none.
  static Result<DestinationRails> open(const std::vector<Rail>& rails, const GuestMemory& memory,
                                       std::span<const std::string> offered,
                                       MigrationReport& report,
                                       RemoteAccess access = RemoteAccess::kWrite);
};

}  // namespace godwit
