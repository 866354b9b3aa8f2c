// SPDX-License-Identifier: Apache-2.0
//
// One direction of a byte stream, at the end where it goes to: the sender writes into our ring and
// says how far it is; what is in it is passed on, and the sender told.
#pragma once

#include <array>
#include <atomic>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/guest_memory.h"
#include "engine/relay/answered_stream.h"
#include "engine/relay/stream_ring.h"
#include "engine/transport.h"
#include "engine/vmm_stream.h"
#include "engine/wire/lane_messages.h"

namespace godwit::relay {

// Thread: one, which owns the endpoint.
class StreamReceiver {
 public:
  struct Parts {
    Endpoint& endpoint;
    VmmStream& stream;
    std::span<const std::byte> ring;
    // The guest that pages are placed for, and which of them were not holes at the start. Null
    // where none are.
    const GuestMemory* guest = nullptr;
    const GuestPageSet* present_at_start = nullptr;
    std::atomic<uint64_t>* counter = nullptr;  // of the bytes passed on; may be null
    // Takes what is passed on in place of the stream, where pages come in between. Else null.
    AnsweredStream* answered = nullptr;
  };
  explicit StreamReceiver(const Parts& parts) : parts_(parts) {}

  // Returns when the stream has ended, here as well; or when nobody reads it here any more, and the
  // sender was told. Errors: the endpoint's and the stream's.
  Status run();

  uint64_t bytes() const { return position_.drained; }

 private:
  Status handle(const StreamFilled& message);
  Status handle(const ZeroRuns& message);
  Status take(const StreamFilled& message);
  Result<VmmStream::State> pass_on();
  Result<VmmStream::Progress> write(std::span<const std::byte> bytes);
  Status end();
  Status report(StreamEnd end);

  Parts parts_;
  RingPosition position_;
  uint64_t reported_ = 0;
  uint64_t zeroed_pages_ = 0;
  bool refused_ = false;  // nobody reads it here, and the sender was told
  bool over_ = false;
  std::vector<std::byte> message_;
  std::array<std::byte, kLaneMessageBytesMax> received_;
};

}  // namespace godwit::relay
