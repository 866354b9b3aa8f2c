// SPDX-License-Identifier: Apache-2.0
//
// What a VMM says to its source, with its page requests taken out: the counterpart of StreamSender.
#pragma once

#include <array>
#include <atomic>
#include <span>

#include "engine/base/result.h"
#include "engine/page_requests.h"
#include "engine/relay/outgoing_lane.h"
#include "engine/relay/page_reader.h"
#include "engine/transport.h"
#include "engine/vmm_stream.h"

namespace godwit::relay {

// Thread: one, which owns the endpoint.
class RequestTaker final : private PageRequests::Said {
 public:
  // Everything referred to outlives this.
  struct Parts {
    Endpoint& endpoint;
    VmmStream& stream;
    PageRequests& requests;
    PageReader& reader;
    std::span<std::byte> ring;
    const MemoryRegion& local;                 // begins with the ring
    RemoteRegion remote;                       // the receiver's, of the same size
    std::atomic<uint64_t>* counter = nullptr;  // of the bytes read; may be null
  };
  explicit RequestTaker(const Parts& parts)
      : parts_(parts), lane_(parts.endpoint, parts.ring.size()) {}

  // As StreamSender::run().
  Status run();

  // What was passed on.
  uint64_t bytes() const { return lane_.position().drained; }

 private:
  Result<VmmStream::State> read_some();
  Status pass_on(std::span<const std::byte> bytes) override;
  void request(const RequestedPage& page) override { parts_.reader.ask(page); }

  const Parts parts_;
  OutgoingLane lane_;
  std::array<std::byte, 16 * kKiB> piece_;
};

}  // namespace godwit::relay
