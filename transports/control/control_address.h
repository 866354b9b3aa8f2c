// SPDX-License-Identifier: Apache-2.0
//
// The rule about who may be talked to without security.
#pragma once

#include <string>

#include "engine/base/result.h"

namespace godwit::control {

// "192.0.2.1:7471", "[2001:db8::1]:7471": the address that a socket is bound to.
std::string local_address(int fd);

}  // namespace godwit::control

namespace godwit {

// Without security options only this machine may be talked to: succeeds when every address that
// "HOST:PORT" stands for is a loopback address. Errors: kRefused, naming the options.
Status require_loopback(const std::string& address);

}  // namespace godwit
