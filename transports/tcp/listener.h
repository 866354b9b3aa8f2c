// SPDX-License-Identifier: Apache-2.0
//
// Waits for lanes. Anybody can connect, so newcomers are many, slow or hostile: they are all looked
// at together, each has 5 seconds to show a ticket, at most 64 wait at once (then the oldest goes),
// and none is read further than its ticket.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <string>

#include "engine/base/unique_fd.h"
#include "engine/base/wake_event.h"
#include "engine/transport.h"
#include "transports/tcp/handshake.h"
#include "transports/tcp/options.h"
#include "transports/tcp/region_table.h"

namespace godwit {

// Thread: one calls accept(); shut_down() is for any.
class TcpListener final : public Listener {
 public:
  static Result<std::unique_ptr<TcpListener>> open(const std::string& address,
                                                   const TcpOptions& options,
                                                   std::shared_ptr<RegionTable> regions);

  std::string address() const override { return address_; }
  Result<AcceptedLane> accept(LaneTickets& tickets, Deadline deadline) override;
  void shut_down() override;

 private:
  TcpListener(UniqueFd socket, WakeEvent wake_event, std::string address, const TcpOptions& options,
              std::shared_ptr<RegionTable> regions);

  Status wait(Deadline deadline);
  Status take_newcomers();
  Result<std::unique_ptr<Endpoint>> make_endpoint(Newcomer newcomer, Deadline deadline);

  UniqueFd socket_;
  WakeEvent wake_event_;
  const std::string address_;
  const TcpOptions options_;
  // Shared by the transport, its regions and its endpoints, which may be destroyed in any order.
  std::shared_ptr<RegionTable> regions_;
  std::list<Newcomer> newcomers_;  // oldest first
  std::atomic<bool> shut_down_requested_{false};
};

}  // namespace godwit
