// SPDX-License-Identifier: Apache-2.0
//
// Waits for lanes over RDMA. A request carries its ticket, so a stranger is turned away without
// anything having been made for it, and holds up nobody.
#pragma once

#include <memory>
#include <string>

#include "engine/base/wake_event.h"
#include "engine/transport.h"
#include "transports/rdma/rdma_endpoint.h"

namespace godwit {

// Thread: one calls accept(); shut_down() is for any.
class RdmaListener final : public Listener {
 public:
  static Result<std::unique_ptr<RdmaListener>> open(RdmaParts parts, const std::string& address,
                                                    const RdmaOptions& options);

  std::string address() const override { return address_; }
  Result<AcceptedLane> accept(LaneTickets& tickets, Deadline deadline) override;
  void shut_down() override;

 private:
  RdmaListener(RdmaParts parts, WakeEvent wake_event, const RdmaOptions& options)
      : parts_(std::move(parts)), options_(options), wake_event_(std::move(wake_event)) {}

  Status listen_on(SocketAddress candidate);
  Result<std::unique_ptr<Endpoint>> admit(VerbsHandle<rdma_cm_id> id, const Greeting& greeting,
                                          ReadDepths peer_reads, Deadline deadline);

  RdmaParts parts_;
  const RdmaOptions options_;
  WakeEvent wake_event_;
  VerbsHandle<rdma_event_channel> channel_;
  VerbsHandle<rdma_cm_id> id_;
  std::string address_;
};

}  // namespace godwit
