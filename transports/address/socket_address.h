// SPDX-License-Identifier: Apache-2.0
//
// Socket addresses as users and peers write them, for lanes and the control connection.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace godwit {

struct SocketAddress {
  sockaddr_storage storage;
  socklen_t length;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  void set_port(uint16_t port);

  // A copy. Requires: the family is AF_INET or AF_INET6.
  static SocketAddress of(const sockaddr* address);
};

// "HOST:PORT" or "[IPV6]:PORT".
std::string to_string(const SocketAddress& address);
bool is_loopback(const SocketAddress& address);

// "HOST:PORT" in its parts.
struct HostPort {
  std::string host;  // without the brackets of an IPv6 address
  std::string port;
};

// Errors: kRefused unless it is HOST:PORT, with an IPv6 address in brackets.
Result<HostPort> parse_host_port(std::string_view address);

enum class AddressUse : uint8_t { kConnect = 1, kListen = 2 };

// At least one, in the order to try them in. Errors: kRefused when the name is not known, or when
// it is not HOST:PORT. May wait for a name server.
Result<std::vector<SocketAddress>> resolve(const HostPort& address, AddressUse use);
Result<std::vector<SocketAddress>> resolve(std::string_view address, AddressUse use);

}  // namespace godwit
