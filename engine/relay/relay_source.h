// SPDX-License-Identifier: Apache-2.0
//
// One stream that a VMM wrote into a socket here, taken to the other host.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/control_channel.h"
#include "engine/migration/control_link.h"
#include "engine/migration/interruption.h"
#include "engine/page_channel.h"
#include "engine/page_extractor.h"
#include "engine/rail.h"
#include "engine/relay/page_lane.h"
#include "engine/relay/placing_rail.h"
#include "engine/relay/placing_sender.h"
#include "engine/relay/relay_options.h"
#include "engine/relay/stream_ring.h"
#include "engine/relay/stream_session.h"
#include "engine/relay/stream_traffic.h"
#include "engine/vmm_stream.h"

namespace godwit::relay {

// Thread: open(), then carry(), which may be another thread's; stop() by any.
class RelaySource {
 public:
  // Everything referred to outlives this.
  struct Parts {
    VmmStream& stream;
    const std::vector<Rail>& rails;  // in the order in which they are tried
    ControlChannel& control;
    // What the other end is told that it is.
    StreamContent content = StreamContent::kBytes;
    // Of kGuest and kGuestBesideChannels: tells pages from the rest, so that they can be put
    // straight into the guest's memory, if the other end can reach that.
    MakePageExtractor make_extractor = nullptr;
    // That guest's memory here, from which its pages can be sent. Null: from the stream.
    const GuestMemory* guest = nullptr;
    // The guest's memory here, where the VMM at the other end may ask for pages once the guest
    // stands still: they are read from it. Null: it asks the VMM here.
    const GuestMemory* requested = nullptr;
    // carry() calls it when the stream has ended, and from then on uses link(). Null: nobody else
    // has used that.
    std::function<void()> await_link = nullptr;
  };
  RelaySource(const Parts& parts, std::string session, RelayOptions options);
  ~RelaySource();

  // Returns when the other end has somewhere to pass the stream on to, and the lanes are there.
  // Errors: what the other end says; that no rail works.
  Status open();

  // Connects lanes for page channels, shared out among all rails that work. They stay as long as
  // this does, used or not.
  // Requires: blocks_in_reach() is not empty; 1 to kPageLanesMax; once.
  Status open_page_lanes(size_t count);

  // Returns when both directions have ended. On an error the stream is broken at both ends.
  // `channels` are those that pages of blocks_in_reach() come by: none, or as many as there are
  // lanes for them. They outlive this.
  Result<StreamTraffic> carry(const std::vector<PageChannel*>& channels = {});

  void stop();

  // For what has to be agreed on after carry(), or before its await_link returns. Requires: open()
  // was called.
  ControlLink& link() { return *link_; }
  Interruption& interruption() { return interruption_; }

  // What open() found: "rdma", "tcp"; whether pages are placed, or why not.
  const std::string& transport() const { return transport_; }
  bool places_pages() const { return places_pages_; }
  // The blocks that pages can be placed in, if all of them can be sent from memory; else none.
  std::vector<BlockDescription> blocks_in_reach() const;
  const std::string& note() const { return note_; }
  // Of open_page_lanes(): which rails have none, and why; empty: they all have.
  const std::string& page_lanes_note() const { return page_lanes_note_; }

 private:
  // Our ends of the rings, as one rail knows them.
  struct RailRings {
    std::unique_ptr<MemoryRegion> outgoing;
    std::unique_ptr<MemoryRegion> incoming;
    std::vector<std::unique_ptr<MemoryRegion>> requested;  // not of a ring: guest memory
  };
  Result<StreamTraffic> carry_by_lanes(const std::vector<PageChannel*>& channels);
  Result<StreamTraffic> carry_placing(std::span<std::byte> ring, const Direction& incoming,
                                      const std::vector<PageChannel*>& channels);
  static Status check_regions(const AcceptedRail& rail,
                              const std::vector<BlockDescription>& blocks);
  Status add_placing_rail(size_t rail);
  void add_other_placing_rails(size_t count_max);
  Status register_rings(OpenStream& message);
  Status register_requested(const Rail& rail, RailRings& rings, ServedRail& served) const;
  Offer describe_requested() const;
  Status connect(const StreamOpened& opened);
  Status connect_lanes(size_t rail, const std::string& address);
  Result<std::unique_ptr<Endpoint>> connect_lane(size_t rail, const std::string& address,
                                                 uint32_t lane);

  const Parts parts_;
  const std::string session_;
  const RelayOptions options_;
  Interruption interruption_;
  std::unique_ptr<ControlLink> link_;
  std::optional<StreamRing> outgoing_ring_;
  std::optional<StreamRing> incoming_ring_;
  std::vector<RailRings> rings_;  // by rail
  std::vector<AcceptedRail> rails_there_;
  std::vector<size_t> ends_;  // by rail: in rails_there_, or kNoRailEnd
  size_t rail_ = 0;           // chosen by connect()
  std::unique_ptr<Endpoint> outgoing_;
  std::unique_ptr<Endpoint> incoming_;
  std::unique_ptr<Endpoint> read_from_;  // none if nothing is
  std::string transport_;
  std::vector<BlockDescription> blocks_;  // that pages can be placed in
  // If there are any: that of the stream, and those of other page lanes.
  std::vector<std::unique_ptr<PlacingRail>> placing_rails_;
  std::unique_ptr<PageExtractor> extractor_;
  bool places_pages_ = false;  // from the start
  struct OpenPageLane {
    std::unique_ptr<Endpoint> endpoint;
    const PlacingRail* rail;
  };
  std::vector<OpenPageLane> page_lanes_;
  std::string note_;
  std::string page_lanes_note_;
};

}  // namespace godwit::relay
