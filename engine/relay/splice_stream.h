// SPDX-License-Identifier: Apache-2.0
//
// Both directions of a byte stream where the connection to the other host is a socket: the kernel
// passes references to its pages on (splice(2)), and nothing is copied here.
#pragma once

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "engine/migration/interruption.h"
#include "engine/relay/stream_traffic.h"
#include "engine/vmm_stream.h"

namespace godwit::relay {

// One socket for each direction, both non-blocking. A direction that ends, or is not read any more,
// at one host does so at the other. Returns when both have ended; on an error, and by an
// interruption, all is shut down. `counters` may be null.
Result<StreamTraffic> splice(VmmStream& stream, UniqueFd outgoing, UniqueFd incoming,
                             Interruption& interruption, StreamCounters* counters = nullptr);

}  // namespace godwit::relay
