// SPDX-License-Identifier: Apache-2.0
//
// By which addresses this host can be reached.
#pragma once

#include <string>
#include <vector>

namespace godwit {

struct OwnAddress {
  std::string interface;
  std::string host;  // as in "HOST:PORT": IPv6 in brackets

  friend bool operator==(const OwnAddress&, const OwnAddress&) = default;
};

// Of the interfaces that are up, in the kernel's order, without loopback and link-local ones; where
// there are no others, 127.0.0.1.
std::vector<OwnAddress> own_addresses();

}  // namespace godwit
