// SPDX-License-Identifier: Apache-2.0
#include "transports/control/control_address.h"

#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

namespace godwit::control {
namespace {

bool is_port(std::string_view text) {
  unsigned port = 0;
  auto parsed = std::from_chars(text.data(), text.data() + text.size(), port);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && port <= 65535;
}

}  // namespace

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

Result<std::vector<SocketAddress>> resolve(const HostPort& address, ResolveFor purpose) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (purpose == ResolveFor::kListening ? AI_PASSIVE : 0);
  addrinfo* found = nullptr;
  int outcome = ::getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found);
  std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  if (outcome != 0) {
    return fail(Errc::kRefused, "find the address of '{}': {}", address.host,
                ::gai_strerror(outcome));
  }
  std::vector<SocketAddress> addresses;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    SocketAddress result{};
    std::memcpy(&result.storage, entry->ai_addr, entry->ai_addrlen);
    result.length = entry->ai_addrlen;
    addresses.push_back(result);
  }
  return addresses;
}

std::string local_address(int fd) {
  SocketAddress address{{}, sizeof(sockaddr_storage)};
  ::getsockname(fd, address.get(), &address.length);
  return to_string(address);
}

}  // namespace godwit::control

namespace godwit {

Status require_loopback(const std::string& address) {
  ASSIGN_OR_RETURN(control::HostPort host_port, control::parse_host_port(address));
  ASSIGN_OR_RETURN(std::vector<SocketAddress> addresses,
                   control::resolve(host_port, control::ResolveFor::kListening));
  if (std::all_of(addresses.begin(), addresses.end(), is_loopback)) return {};
  return fail(Errc::kRefused,
              "{} can be reached from other machines, and nothing says who may take part: give "
              "--psk-file FILE (made by `godwit keygen`) or --tls-dir DIR on both sides, or "
              "--insecure to go without encryption and authentication",
              address);
}

}  // namespace godwit
