// SPDX-License-Identifier: Apache-2.0
//
// A lane for the pages of one page channel, at the host that the guest leaves: from guest memory
// here straight into guest memory there.
//
// Of two writes of one page by different lanes, either may lie there in the end. So a page must not
// be sent again before the lane that sent it has settled: the channels see to that
// (page_channel.h).
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "engine/base/result.h"
#include "engine/migration/interruption.h"
#include "engine/page_channel.h"
#include "engine/relay/outgoing_lane.h"
#include "engine/relay/pending_zeroes.h"
#include "engine/relay/placed_pages.h"
#include "engine/relay/placing_sender.h"
#include "engine/relay/torn_pages.h"
#include "engine/transport.h"

namespace godwit::relay {

// Thread: one, which owns the endpoint.
class PageLane final : PageChannel::Output {
 public:
  struct Parts {
    Endpoint& endpoint;
    PageChannel& channel;
    // Each with the guest's memory here.
    const std::vector<PlacingSender::Block>& blocks;
    PlacedPages& placed;
    TornPages& torn;
  };
  explicit PageLane(const Parts& parts);

  // Returns when the channel has ended and everything lies there.
  Status run();

  uint64_t placed_bytes() const { return placed_bytes_; }

 private:
  Status place(uint32_t block, std::span<const PageRun> runs) override;
  Status clear(uint32_t block, std::span<const PageRun> runs) override;
  Status settle() override;
  Status post();
  Status clear_page(uint32_t block, uint64_t page);
  Status send_zeroes();

  const Parts parts_;
  OutgoingLane lane_;
  std::vector<TransferOp> operations_;
  PendingZeroes zeroes_;  // not sent yet
  uint64_t placed_bytes_ = 0;
};

// All of them, each in a thread. One that fails is raised.
class PageLanes {
 public:
  // Everything referred to outlives this.
  PageLanes(std::vector<PageLane::Parts> lanes, Interruption& interruption);
  ~PageLanes();

  // For when the stream has ended, with which the VMM's channels end as well.
  void end();

  // Of all. Requires: end() was called.
  uint64_t placed_bytes() const;
  uint64_t read_bytes() const;

 private:
  const std::vector<PageLane::Parts> parts_;
  std::vector<std::unique_ptr<PageLane>> lanes_;
  Interruption::Hook wake_;
  std::vector<std::jthread> threads_;
};

}  // namespace godwit::relay
