// SPDX-License-Identifier: Apache-2.0
//
// "HOST:PORT", and the rule about who may be talked to without security.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "transports/address/socket_address.h"

namespace godwit::control {

struct HostPort {
  std::string host;  // without the brackets of an IPv6 address
  std::string port;
};

// Errors: kRefused unless it is HOST:PORT, with an IPv6 address in brackets.
Result<HostPort> parse_host_port(std::string_view address);

enum class ResolveFor : uint8_t { kConnecting = 1, kListening = 2 };

// At least one. Errors: kRefused when the name is not known. May wait for a name server.
Result<std::vector<SocketAddress>> resolve(const HostPort& address, ResolveFor purpose);

// "192.0.2.1:7471", "[2001:db8::1]:7471": the address that a socket is bound to.
std::string local_address(int fd);

}  // namespace godwit::control

namespace godwit {

// Without security options only this machine may be talked to: succeeds when every address that
// "HOST:PORT" stands for is a loopback address. Errors: kRefused, naming the options.
Status require_loopback(const std::string& address);

}  // namespace godwit
