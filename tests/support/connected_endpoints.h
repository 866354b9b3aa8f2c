// SPDX-License-Identifier: Apache-2.0
//
// Two endpoints that are connected to each other, of any two transports that can reach each other;
// and the ticket that lets one in.
#pragma once

#include <memory>
#include <string>

#include "engine/transport.h"

namespace godwit::test {

// A ticket of that lane; always the same one.
LaneTicket make_ticket(uint32_t lane);

// What the listener lets in with that ticket alone.
Result<std::unique_ptr<Endpoint>> accept_lane(Listener& listener, const LaneTicket& ticket,
                                              Deadline deadline);

struct ConnectedEndpoints {
  std::unique_ptr<Endpoint> source;
  std::unique_ptr<Endpoint> destination;
};

// The destination listens at `address`; both have `ticket`. Aborts when they do not find each other
// in half a minute.
ConnectedEndpoints connect_endpoints(Transport& source, Transport& destination,
                                     const std::string& address, const LaneTicket& ticket);

}  // namespace godwit::test
