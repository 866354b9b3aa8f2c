// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/rdma_transport.h"

#include <cerrno>

#include "engine/base/check.h"
#include "transports/address/socket_address.h"
#include "transports/rdma/rdma_device.h"
#include "transports/rdma/rdma_endpoint.h"
#include "transports/rdma/rdma_listener.h"
#include "transports/rdma/rdma_region.h"
#include "transports/rdma/registrar.h"

namespace godwit {
namespace {

// An id whose address and route are known, and so its device: ours, where that is what it leaves
// from.
Result<VerbsHandle<rdma_cm_id>> resolve_peer(rdma_event_channel* channel, const RdmaDevice& device,
                                             SocketAddress peer, Deadline deadline) {
  ASSIGN_OR_RETURN(VerbsHandle<rdma_cm_id> id, make_id(channel));
  std::optional<SocketAddress> source = device.source_for(peer);
  if (rdma_resolve_addr(id.get(), source ? source->get() : nullptr, peer.get(),
                        milliseconds_until(deadline)) != 0)
    return fail_errno(errno, "resolve {} from RDMA device {}", to_string(peer), device.name());
  RETURN_IF_ERROR(expect_event(channel, kNoWakeEvent, RDMA_CM_EVENT_ADDR_RESOLVED, deadline));
  if (rdma_resolve_route(id.get(), milliseconds_until(deadline)) != 0)
    return fail_errno(errno, "find a route to {}", to_string(peer));
  RETURN_IF_ERROR(expect_event(channel, kNoWakeEvent, RDMA_CM_EVENT_ROUTE_RESOLVED, deadline));
  return id;
}

}  // namespace

Result<std::unique_ptr<RdmaTransport>> RdmaTransport::open(RdmaOptions options) {
  ASSIGN_OR_RETURN(std::shared_ptr<RdmaDevice> device, RdmaDevice::open(options));
  return std::unique_ptr<RdmaTransport>(new RdmaTransport(std::move(device), std::move(options)));
}

RdmaTransport::RdmaTransport(std::shared_ptr<RdmaDevice> device, RdmaOptions options)
    : device_(std::move(device)),
      registrar_(std::make_shared<Registrar>()),
      options_(std::move(options)) {}

RdmaTransport::~RdmaTransport() = default;

Capabilities RdmaTransport::capabilities() const {
  return {.name = "rdma",
          .one_sided = true,
          .messages_bytes_max = kRdmaMessageBytesMax,
          .operations_in_flight_max = kRdmaOperationsInFlightMax};
}

Result<std::unique_ptr<MemoryRegion>> RdmaTransport::make_region(std::span<std::byte> bytes,
                                                                 RemoteAccess access,
                                                                 PageStability stability) {
  if (stability == PageStability::kReplaceable) {
    CHECK(access == RemoteAccess::kNone);
    return std::make_unique<RdmaRegion>(bytes, 0, nullptr, PinReservation());
  }
  ASSIGN_OR_RETURN(PinReservation reservation, PinReservation::make(bytes.size()));
  auto chunks = std::make_shared<PinnedChunks>(device_, bytes, access);
  uint64_t key = 0;
  if (access != RemoteAccess::kNone) {
    ASSIGN_OR_RETURN(key, registrar_->publish(chunks));
  }
  return std::make_unique<RdmaRegion>(bytes, key, std::move(chunks), std::move(reservation));
}

Result<std::unique_ptr<Endpoint>> RdmaTransport::connect(const std::string& address,
                                                         const LaneTicket& ticket,
                                                         Deadline deadline) {
  ASSIGN_OR_RETURN(const std::vector<SocketAddress> peers, resolve(address, AddressUse::kConnect));
  Error error = fail(Errc::kPeerLost, "'{}' has no address", address).value();
  for (const SocketAddress& peer : peers) {
    Result<std::unique_ptr<Endpoint>> endpoint = connect_to(peer, address, ticket, deadline);
    if (endpoint) return endpoint;
    // That somebody said no tells more than that somewhere else there is nobody.
    if (error.code != Errc::kRefused) error = endpoint.error();
  }
  return tl::unexpected<Error>(error);
}

Result<std::unique_ptr<Endpoint>> RdmaTransport::connect_to(const SocketAddress& peer,
                                                            const std::string& address,
                                                            const LaneTicket& ticket,
                                                            Deadline deadline) {
  ASSIGN_OR_RETURN(VerbsHandle<rdma_event_channel> channel, make_event_channel());
  ASSIGN_OR_RETURN(VerbsHandle<rdma_cm_id> id,
                   resolve_peer(channel.get(), *device_, peer, deadline));
  ASSIGN_OR_RETURN(std::unique_ptr<RdmaEndpoint> endpoint,
                   RdmaEndpoint::make({device_, registrar_}, std::move(channel), std::move(id),
                                      address, options_));
  const Greeting greeting = make_greeting(ticket, endpoint->flush_word());
  rdma_conn_param parameters = endpoint->connection_parameters(greeting);
  if (rdma_connect(endpoint->id(), &parameters) != 0)
    return fail_errno(errno, "connect lane {} to {}", ticket.lane, address);
  Result<ConnectionEvent> established =
      expect_event(endpoint->channel(), kNoWakeEvent, RDMA_CM_EVENT_ESTABLISHED, deadline);
  if (!established) {
    return fail(established.error().code, "connect lane {} to {}: {}", ticket.lane, address,
                to_string(established.error()));
  }
  ASSIGN_OR_RETURN(const Greeting answer, decode_greeting(established->private_data.data(),
                                                          established->private_data.size()));
  RETURN_IF_ERROR(endpoint->begin(answer));
  return endpoint;
}

Result<std::unique_ptr<Listener>> RdmaTransport::listen(const std::string& address) {
  return RdmaListener::open({device_, registrar_}, address, options_);
}

std::string RdmaTransport::device_name() const {
  return device_->name();
}

std::string RdmaTransport::host() const {
  return device_->host();
}

}  // namespace godwit
