// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/rdma_listener.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>

#include "transports/address/socket_address.h"

namespace godwit {
namespace {

constexpr int kBacklog = 128;
constexpr auto kAdmissionMax = seconds(5);

}  // namespace

Result<std::unique_ptr<RdmaListener>> RdmaListener::open(RdmaParts parts,
                                                         const std::string& address,
                                                         const RdmaOptions& options) {
  ASSIGN_OR_RETURN(std::vector<SocketAddress> candidates, resolve(address, AddressUse::kListen));
  ASSIGN_OR_RETURN(WakeEvent wake_event, WakeEvent::make());
  std::unique_ptr<RdmaListener> listener(
      new RdmaListener(std::move(parts), std::move(wake_event), options));
  ASSIGN_OR_RETURN(listener->channel_, make_event_channel());
  Status listening = fail(Errc::kRefused, "'{}' has no address to listen on", address);
  for (const SocketAddress& candidate : candidates) {
    listening = listener->listen_on(candidate);
    if (listening) return listener;
  }
  return tl::unexpected<Error>(listening.error());
}

Status RdmaListener::listen_on(SocketAddress candidate) {
  ASSIGN_OR_RETURN(VerbsHandle<rdma_cm_id> id, make_id(channel_.get()));
  if (rdma_bind_addr(id.get(), candidate.get()) != 0 || rdma_listen(id.get(), kBacklog) != 0)
    return fail_errno(errno, "listen for RDMA on {}", to_string(candidate));
  candidate.set_port(ntohs(rdma_get_src_port(id.get())));
  address_ = to_string(candidate);
  id_ = std::move(id);
  return {};
}

Result<AcceptedLane> RdmaListener::accept(LaneTickets& tickets, Deadline deadline) {
  while (true) {
    ASSIGN_OR_RETURN(ConnectionEvent event, next_event(channel_.get(), wake_event_.fd(), deadline));
    if (event.type != RDMA_CM_EVENT_CONNECT_REQUEST) continue;
    VerbsHandle<rdma_cm_id> id(event.id);
    const Result<Greeting> greeting =
        decode_greeting(event.private_data.data(), event.private_data.size());
    if (!greeting || !tickets.redeem(ticket_of(*greeting))) {
      rdma_reject(id.get(), nullptr, 0);
      continue;
    }
    Result<std::unique_ptr<Endpoint>> endpoint =
        admit(std::move(id), *greeting, event.peer_reads, deadline);
    if (!endpoint) {
      // The right one can be lost on the way in, and come again.
      if (endpoint.error().code != Errc::kPeerLost) return tl::unexpected<Error>(endpoint.error());
      tickets.give_back(greeting->lane);
      continue;
    }
    return AcceptedLane{greeting->lane, std::move(*endpoint)};
  }
}

Result<std::unique_ptr<Endpoint>> RdmaListener::admit(VerbsHandle<rdma_cm_id> id,
                                                      const Greeting& greeting,
                                                      ReadDepths peer_reads, Deadline deadline) {
  ASSIGN_OR_RETURN(VerbsHandle<rdma_event_channel> channel, make_event_channel());
  if (rdma_migrate_id(id.get(), channel.get()) != 0)
    return fail_errno(errno, "give a connection an event channel of its own");
  const std::string peer = to_string(SocketAddress::of(rdma_get_peer_addr(id.get())));
  ASSIGN_OR_RETURN(std::unique_ptr<RdmaEndpoint> endpoint,
                   RdmaEndpoint::make(parts_, std::move(channel), std::move(id), peer, options_));
  const Greeting answer = make_greeting({{}, greeting.lane}, endpoint->flush_word());
  rdma_conn_param parameters = endpoint->connection_parameters(answer, peer_reads);
  if (rdma_accept(endpoint->id(), &parameters) != 0)
    return fail_errno(errno, "accept the lane of {}", peer);
  RETURN_IF_ERROR(expect_event(endpoint->channel(), wake_event_.fd(), RDMA_CM_EVENT_ESTABLISHED,
                               std::min(deadline, deadline_in(kAdmissionMax))));
  RETURN_IF_ERROR(endpoint->begin(greeting));
  return endpoint;
}

void RdmaListener::shut_down() {
  wake_event_.raise();
}

}  // namespace godwit
