// SPDX-License-Identifier: Apache-2.0
//
// Which way to an address is a direct one.
#pragma once

#include <string>

namespace godwit {

// Whether "HOST:PORT" is on the subnet of this host's interface that has the IP address `own`: then
// the way there is direct. False where either is not known.
bool is_on_subnet_of(const std::string& own, const std::string& address);

}  // namespace godwit
