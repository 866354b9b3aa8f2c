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

struct HostAndPort {
  std::string host;
  std::string port;
};

Result<HostAndPort> split(std::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == address.size()) {
    return fail(Errc::kRefused, "'{}' is not HOST:PORT", address);
  }
  std::string_view host = address.substr(0, colon);
  const std::string_view port = address.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return fail(Errc::kRefused, "'{}': write an IPv6 address in brackets, [ADDRESS]:PORT", address);
  }
  return HostAndPort{std::string(host), std::string(port)};
}

}  // namespace

std::string to_string(const SocketAddress& address) {
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (::getnameinfo(address.get(), address.length, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "an unknown address";
  }
  const bool six = address.storage.ss_family == AF_INET6;
  return six ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

bool is_loopback(const SocketAddress& address) {
  // SAFETY: sockaddr_storage is made to be read as the family it names.
  if (address.storage.ss_family == AF_INET) {
    const auto* four = reinterpret_cast<const sockaddr_in*>(&address.storage);
    return (ntohl(four->sin_addr.s_addr) >> 24) == 127;
  }
  const auto* six = reinterpret_cast<const sockaddr_in6*>(&address.storage);
  if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) return six->sin6_addr.s6_addr[12] == 127;
  return IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
}

Result<std::vector<SocketAddress>> resolve(std::string_view address, AddressUse use) {
  ASSIGN_OR_RETURN(HostAndPort parts, split(address));
  if (parts.host.empty() && use == AddressUse::kConnect) {
    return fail(Errc::kRefused, "'{}' names no host", address);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  if (use == AddressUse::kListen) hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int result = ::getaddrinfo(parts.host.empty() ? nullptr : parts.host.c_str(),
                                   parts.port.c_str(), &hints, &found);
  if (result != 0) {
    return fail(Errc::kRefused, "look up '{}': {}", address, ::gai_strerror(result));
  }
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  std::vector<SocketAddress> addresses;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    SocketAddress next{{}, entry->ai_addrlen};
    std::memcpy(&next.storage, entry->ai_addr, entry->ai_addrlen);
    addresses.push_back(next);
  }
  return addresses;
}

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
