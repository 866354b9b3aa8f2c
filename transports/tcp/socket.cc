// SPDX-License-Identifier: Apache-2.0
#include "transports/tcp/socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace godwit {
namespace {

constexpr int kListenBacklog = 128;

Status set_option(int socket, int level, int name, int value) {
  if (::setsockopt(socket, level, name, &value, sizeof(value)) == 0) return {};
  return fail_errno(errno, "setsockopt level {} option {} to {}", level, name, value);
}

// Returns once `events` (or an error) are there.
Status wait_for(int socket, short events, Deadline deadline) {
  while (true) {
    pollfd poll{socket, events, 0};
    const int ready = ::poll(&poll, 1, milliseconds_until(deadline));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return fail_errno(errno, "poll a socket");
    if (Clock::now() >= deadline) return fail(Errc::kTimeout, "the deadline passed");
  }
}

}  // namespace

Result<UniqueFd> listen_on(const SocketAddress& address) {
  UniqueFd socket(
      ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return fail_errno(errno, "make a socket for {}", to_string(address));
  RETURN_IF_ERROR(set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1));
  if (::bind(socket.get(), address.get(), address.length) != 0 ||
      ::listen(socket.get(), kListenBacklog) != 0) {
    return fail_errno(errno, "listen on {}", to_string(address));
  }
  return socket;
}

Result<SocketAddress> local_address(int socket) {
  SocketAddress address{{}, sizeof(sockaddr_storage)};
  if (::getsockname(socket, address.get(), &address.length) != 0) {
    return fail_errno(errno, "getsockname");
  }
  return address;
}

Result<UniqueFd> connect_to(const SocketAddress& address, const TcpOptions& options,
                            Deadline deadline) {
  UniqueFd socket(
      ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return fail_errno(errno, "make a socket for {}", to_string(address));
  RETURN_IF_ERROR(set_lane_options(socket.get(), address, options));
  int os_errno = 0;
  if (::connect(socket.get(), address.get(), address.length) != 0) os_errno = errno;
  if (os_errno == EINPROGRESS) {
    if (Status status = wait_for(socket.get(), POLLOUT, deadline); !status) {
      return fail(status.error().code, "connect to {}: {}", to_string(address),
                  status.error().text());
    }
    socklen_t length = sizeof(os_errno);
    ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &os_errno, &length);
  }
  if (os_errno != 0) {
    auto error = fail_errno(os_errno, "connect to {}", to_string(address));
    error.value().code = Errc::kPeerLost;
    return error;
  }
  return socket;
}

Status set_lane_options(int socket, const SocketAddress& peer, const TcpOptions& options) {
  RETURN_IF_ERROR(set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1));

  // Half-open connections: probes after a third of the time-out, three of them in the rest. The
  // user time-out covers the case that we have sent something, where no probes are sent.
  const auto timeout_ms = static_cast<int>(options.peer_timeout.count());
  const int third_s = std::max(1, timeout_ms / 3000);
  RETURN_IF_ERROR(set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1));
  RETURN_IF_ERROR(set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, third_s));
  RETURN_IF_ERROR(set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, std::max(1, third_s * 2 / 3)));
  RETURN_IF_ERROR(set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 3));
  RETURN_IF_ERROR(set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, timeout_ms));

  if (options.send_buffer_bytes != 0) {
    RETURN_IF_ERROR(
        set_option(socket, SOL_SOCKET, SO_SNDBUF, static_cast<int>(options.send_buffer_bytes)));
  }
  if (options.receive_buffer_bytes != 0) {
    RETURN_IF_ERROR(
        set_option(socket, SOL_SOCKET, SO_RCVBUF, static_cast<int>(options.receive_buffer_bytes)));
  }
  std::string control = options.congestion_control;
  const bool asked_for = !control.empty();
  if (!asked_for && is_loopback(peer)) control = "cubic";
  if (control.empty()) return {};
  const int result = ::setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, control.data(),
                                  static_cast<socklen_t>(control.size()));
  if (result != 0 && asked_for) return fail_errno(errno, "use congestion control '{}'", control);
  return {};
}

Status send_all(int socket, std::span<const std::byte> bytes, Deadline deadline) {
  while (!bytes.empty()) {
    ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes = bytes.subspan(static_cast<size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return fail(Errc::kPeerLost, "send: {}", describe_errno(errno));
    RETURN_IF_ERROR(wait_for(socket, POLLOUT, deadline));
  }
  return {};
}

Status receive_all(int socket, std::span<std::byte> bytes, Deadline deadline) {
  while (!bytes.empty()) {
    ssize_t received = ::recv(socket, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (received > 0) {
      bytes = bytes.subspan(static_cast<size_t>(received));
      continue;
    }
    if (received == 0) return fail(Errc::kPeerLost, "the peer closed the connection");
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return fail(Errc::kPeerLost, "receive: {}", describe_errno(errno));
    RETURN_IF_ERROR(wait_for(socket, POLLIN, deadline));
  }
  return {};
}

}  // namespace godwit
