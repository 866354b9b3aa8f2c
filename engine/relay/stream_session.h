// SPDX-License-Identifier: Apache-2.0
//
// Both directions of one byte stream, at one of its two ends.
#pragma once

#include <functional>

#include "engine/base/result.h"
#include "engine/migration/interruption.h"
#include "engine/transport.h"
#include "engine/vmm_stream.h"

namespace godwit::relay {

// What carries a direction: run() returns when it has ended, and uses the endpoint alone.
struct Direction {
  Endpoint& endpoint;
  std::function<Status()> run;
};

// Returns when both have ended. Otherwise the stream is shut down, so that the VMM at its end sees
// it break, and `interruption` holds the reason, which is also returned. An interruption from
// elsewhere ends it in the same way.
Status carry(VmmStream& stream, const Direction& outgoing, const Direction& incoming,
             Interruption& interruption);

}  // namespace godwit::relay
