// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/tcp_transport.h"

#include "engine/base/check.h"
#include "transports/tcp/endpoint.h"
#include "transports/tcp/handshake.h"
#include "transports/tcp/listener.h"
#include "transports/tcp/region_table.h"
#include "transports/tcp/ring.h"
#include "transports/tcp/socket.h"

namespace godwit {

Result<std::unique_ptr<TcpTransport>> TcpTransport::open(TcpOptions options) {
  if (options.peer_timeout <= milliseconds(0) || options.peer_timeout > std::chrono::hours(24)) {
    return fail(Errc::kRefused, "a peer time-out of {} ms", options.peer_timeout.count());
  }
  // Found out here, before anything is touched, rather than by the first lane.
  if (Result<std::unique_ptr<Ring>> ring = Ring::open(4); !ring) {
    Error error = ring.error();
    error.code = Errc::kRefused;
    return tl::unexpected<Error>(error);
  }
  return std::unique_ptr<TcpTransport>(new TcpTransport(std::move(options)));
}

TcpTransport::TcpTransport(TcpOptions options)
    : options_(std::move(options)), regions_(std::make_shared<RegionTable>()) {}

TcpTransport::~TcpTransport() = default;

Capabilities TcpTransport::capabilities() const {
  return {.name = "tcp",
          .one_sided = false,
          .messages_bytes_max = kFrameMessageBytesMax,
          .operations_in_flight_max = kTcpOperationsInFlightMax};
}

Result<std::unique_ptr<MemoryRegion>> TcpTransport::make_region(std::span<std::byte> bytes,
                                                                RemoteAccess access,
                                                                PageStability) {
  return TcpRegion::open(regions_, bytes, access);
}

Result<std::unique_ptr<Endpoint>> TcpTransport::connect(const std::string& address,
                                                        const LaneTicket& ticket,
                                                        Deadline deadline) {
  ASSIGN_OR_RETURN(std::vector<SocketAddress> candidates, resolve(address, AddressUse::kConnect));
  CHECK(!candidates.empty());
  Result<UniqueFd> socket;
  const SocketAddress* peer = &candidates.front();
  for (const SocketAddress& candidate : candidates) {
    peer = &candidate;
    socket = connect_to(candidate, options_, deadline);
    if (socket) break;
  }
  if (!socket) return tl::unexpected<Error>(socket.error());
  if (Status status = greet(socket->get(), ticket, deadline); !status) {
    return fail(status.error().code, "connect lane {} to {}: {}", ticket.lane, address,
                status.error().text());
  }
  return TcpEndpoint::open(std::move(*socket), to_string(*peer), options_, regions_);
}

Result<std::unique_ptr<Listener>> TcpTransport::listen(const std::string& address) {
  return TcpListener::open(address, options_, regions_);
}

}  // namespace godwit
