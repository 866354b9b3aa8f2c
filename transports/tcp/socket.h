// SPDX-License-Identifier: Apache-2.0
//
// Sockets: binding, connecting, and the options that make a lost peer be noticed. Everything is
// non-blocking and obeys a deadline.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/base/unique_fd.h"
#include "transports/address/socket_address.h"
#include "transports/tcp/options.h"

namespace godwit {

Result<UniqueFd> listen_on(const SocketAddress& address);
Result<SocketAddress> local_address(int socket);

// Waits until the connection stands. The socket has the lane's options.
Result<UniqueFd> connect_to(const SocketAddress& address, const TcpOptions& options,
                            Deadline deadline);

// No delay, keep-alive and user time-out, congestion control, buffers.
Status set_lane_options(int socket, const SocketAddress& peer, const TcpOptions& options);

// For a few small bytes at the start of a connection. Errors: kTimeout, kPeerLost.
Status send_all(int socket, std::span<const std::byte> bytes, Deadline deadline);
Status receive_all(int socket, std::span<std::byte> bytes, Deadline deadline);

}  // namespace godwit
