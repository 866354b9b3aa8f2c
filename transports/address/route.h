// SPDX-License-Identifier: Apache-2.0
//
// Which way out of this host leads to a peer.
#pragma once

#include <string>

namespace godwit {

// The network interface that packets to "HOST:PORT" leave by, "" where the kernel knows none. Sends
// nothing.
std::string interface_towards(const std::string& address);

}  // namespace godwit
