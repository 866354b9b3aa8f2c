// SPDX-License-Identifier: Apache-2.0
//
// Both directions of one byte stream, at one of its two ends.
#pragma once

#include "engine/base/result.h"
#include "engine/migration/interruption.h"
#include "engine/relay/stream_receiver.h"
#include "engine/relay/stream_sender.h"
#include "engine/relay/stream_traffic.h"
#include "engine/vmm_stream.h"

namespace godwit::relay {

// Returns when both have ended. Otherwise the stream is shut down, so that the VMM at its end sees
// it break, and `interruption` holds the reason, which is also returned. An interruption from
// elsewhere ends it in the same way.
Result<StreamTraffic> carry(VmmStream& stream, const StreamSender::Parts& outgoing,
                            const StreamReceiver::Parts& incoming, Interruption& interruption);

}  // namespace godwit::relay
