// SPDX-License-Identifier: Apache-2.0
#include "transports/address/socket_address.h"

#include <netdb.h>
#include <netinet/in.h>

#include <cstring>
#include <memory>

namespace godwit {
namespace {

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

SocketAddress SocketAddress::of(const sockaddr* address) {
  SocketAddress copy{{},
                     address->sa_family == AF_INET6 ? socklen_t{sizeof(sockaddr_in6)}
                                                    : socklen_t{sizeof(sockaddr_in)}};
  std::memcpy(&copy.storage, address, copy.length);
  return copy;
}

void SocketAddress::set_port(uint16_t port) {
  // SAFETY: sockaddr_storage is made to be read as the family it names.
  if (storage.ss_family == AF_INET6)
    reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port = htons(port);
  else
    reinterpret_cast<sockaddr_in*>(&storage)->sin_port = htons(port);
}

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
  if (address.storage.ss_family != AF_INET6) return false;
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

}  // namespace godwit
