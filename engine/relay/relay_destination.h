// SPDX-License-Identifier: Apache-2.0
//
// One stream that came from the other host, passed on to a VMM here.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/control_channel.h"
#include "engine/migration/control_link.h"
#include "engine/migration/destination_rails.h"
#include "engine/migration/interruption.h"
#include "engine/page_requests.h"
#include "engine/rail.h"
#include "engine/relay/page_receivers.h"
#include "engine/relay/relay_options.h"
#include "engine/relay/stream_receiver.h"
#include "engine/relay/stream_ring.h"
#include "engine/relay/stream_traffic.h"
#include "engine/vmm_stream.h"

namespace godwit::relay {

// The VMM that the stream is for.
struct StreamTarget {
  std::unique_ptr<VmmStream> stream;
  // Its guest's memory, if pages may be put into it past the stream; else why not.
  GuestMemory guest = {};
  std::string note = {};
};

// Thread: run() by one; stop() by any.
class RelayDestination {
 public:
  // Everything referred to outlives this.
  struct Parts {
    // Connects to it. The guest's memory outlives this.
    std::function<Result<StreamTarget>(const OpenStream& offer)> connect;
    const std::vector<Rail>& rails;
    ControlChannel& control;
    // What has to be agreed on when both directions have ended. Null: nothing.
    std::function<Status(ControlLink& link, Interruption& interruption)> hand_over = nullptr;
    // Takes apart what the VMM asks its source for, where the source lets us read it. Null: a
    // stream of which that cannot be said.
    MakePageRequests make_requests = nullptr;
    // What is done while the stream passes, by a thread of its own; from the stop on it should not
    // begin anything. Its error breaks the stream. Null: nothing.
    std::function<Status(ControlLink& link, Interruption& interruption,
                         const std::stop_token& stop)>
        meanwhile = nullptr;
  };
  RelayDestination(Parts parts, RelayOptions options);
  ~RelayDestination();

  // Returns when both directions have ended. On an error the stream is broken at both ends, and the
  // source was told why.
  Result<StreamTraffic> run();

  void stop();

  // On return nothing that the source writes can arrive any more. For hand_over(), when the source
  // has said that it has heard of the end.
  void close_lanes();

  const std::string& transport() const { return transport_; }
  // The source's name for it; empty as long as it has not said it.
  const std::string& session() const { return session_; }

 private:
  class Doors;

  Result<StreamTraffic> pass_on();
  Result<StreamTraffic> pass_on_meanwhile(const std::function<Result<StreamTraffic>()>& pass);
  Status hand_over();
  Status answer(const OpenStream& offer);
  Status describe_guest(StreamOpened& answer);
  // The rings' memory as both ends know it.
  struct Rings {
    const MemoryRegion& outgoing;
    RemoteRegion remote;
  };
  static Status check_regions(const ServedRail& rail, const std::vector<BlockDescription>& blocks);
  StreamReceiver::Parts receiver_parts();
  Result<StreamTraffic> carry(const Rings& rings);
  // The same, with the VMM's page requests answered by reading what the source offers.
  Result<StreamTraffic> carry_and_answer(const Rings& rings,
                                         const std::vector<BlockDescription>& blocks,
                                         const ServedRail& source, Transport& transport);
  Transport& transport_of(const AcceptedRail& rail) const;

  const Parts parts_;
  const RelayOptions options_;
  Interruption interruption_;
  std::unique_ptr<ControlLink> link_;
  StreamTarget target_;
  std::optional<StreamRing> outgoing_ring_;
  std::optional<StreamRing> incoming_ring_;
  GuestMemory memory_;  // the ring, and guest memory
  GuestMemory guest_;   // alone
  GuestPageSet present_at_start_;
  DestinationRails rails_;
  std::unique_ptr<MemoryRegion> outgoing_region_;
  // Until the source has heard the last word of them.
  std::unique_ptr<Endpoint> outgoing_;
  std::unique_ptr<Endpoint> incoming_;
  std::unique_ptr<Endpoint> reading_;  // none if nothing is read
  std::unique_ptr<PageReceivers> page_receivers_;
  std::string transport_;
  std::string session_;
};

}  // namespace godwit::relay
