// SPDX-License-Identifier: Apache-2.0
#include "tests/support/connected_endpoints.h"

#include <thread>

#include "engine/base/check.h"

namespace godwit::test {

LaneTicket make_ticket(uint32_t lane) {
  LaneTicket ticket{{}, lane};
  for (size_t i = 0; i < ticket.token.size(); ++i) {
    ticket.token[i] = static_cast<std::byte>(i * 7 + lane);
  }
  return ticket;
}

Result<std::unique_ptr<Endpoint>> accept_lane(Listener& listener, const LaneTicket& ticket,
                                              Deadline deadline) {
  LaneTickets tickets([&](uint32_t lane) -> Result<std::array<std::byte, 32>> {
    if (lane != ticket.lane) return fail(Errc::kRefused, "another lane is expected");
    return ticket.token;
  });
  ASSIGN_OR_RETURN(AcceptedLane accepted, listener.accept(tickets, deadline));
  CHECK(accepted.lane == ticket.lane);
  return std::move(accepted.endpoint);
}

ConnectedEndpoints connect_endpoints(Transport& source, Transport& destination,
                                     const std::string& address, const LaneTicket& ticket) {
  auto listener = destination.listen(address);
  CHECK(listener.has_value());
  const Deadline deadline = deadline_in(seconds(30));
  ConnectedEndpoints ends;
  std::jthread connecting([&] {
    auto endpoint = source.connect((*listener)->address(), ticket, deadline);
    if (endpoint) ends.source = std::move(*endpoint);
  });
  auto endpoint = accept_lane(**listener, ticket, deadline);
  connecting.join();
  CHECK(endpoint.has_value() && ends.source != nullptr);
  ends.destination = std::move(*endpoint);
  return ends;
}

}  // namespace godwit::test
