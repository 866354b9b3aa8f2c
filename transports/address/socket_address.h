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

enum class AddressUse { kConnect, kListen };
// Returns all addresses of a "HOST:PORT"; to listen, the host may be left out (":7471": any).
Result<std::vector<SocketAddress>> resolve(std::string_view address, AddressUse use);

}  // namespace godwit
