// SPDX-License-Identifier: Apache-2.0
#include "transports/address/socket_address.h"

#include <netdb.h>
#include <netinet/in.h>

#include <charconv>
#include <cstring>
#include <memory>

namespace godwit {
namespace {

bool is_port(std::string_view text) {
  unsigned port = 0;
  auto parsed = std::from_chars(text.data(), text.data() + text.size(), port);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && port <= 65535;
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

Result<HostPort> parse_host_port(std::string_view address) {
  size_t colon = address.rfind(':');
  std::string_view host = address.substr(0, colon == std::string_view::npos ? 0 : colon);
  std::string_view port = colon == std::string_view::npos ? "" : address.substr(colon + 1);
  bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  bool ambiguous = !bracketed && host.find(':') != std::string_view::npos;
  if (host.empty() || ambiguous || !is_port(port)) {
    return fail(Errc::kRefused,
                "'{}' is not HOST:PORT (an IPv6 address goes in brackets: [::1]:7471)", address);
  }
  return HostPort{std::string(host), std::string(port)};
}

Result<std::vector<SocketAddress>> resolve(const HostPort& address, AddressUse use) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (use == AddressUse::kListen ? AI_PASSIVE : 0);
  addrinfo* found = nullptr;
  const int outcome = ::getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found);
  std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  if (outcome != 0) {
    return fail(Errc::kRefused, "find the address of '{}': {}", address.host,
                ::gai_strerror(outcome));
  }
  std::vector<SocketAddress> addresses;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    SocketAddress result{{}, entry->ai_addrlen};
    std::memcpy(&result.storage, entry->ai_addr, entry->ai_addrlen);
    addresses.push_back(result);
  }
  return addresses;
}

Result<std::vector<SocketAddress>> resolve(std::string_view address, AddressUse use) {
  ASSIGN_OR_RETURN(const HostPort parts, parse_host_port(address));
  return resolve(parts, use);
}

}  // namespace godwit
