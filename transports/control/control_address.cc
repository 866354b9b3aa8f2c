// SPDX-License-Identifier: Apache-2.0
#include "transports/control/control_address.h"

#include <algorithm>
#include <vector>

#include "transports/address/socket_address.h"

namespace godwit::control {

std::string local_address(int fd) {
  SocketAddress address{{}, sizeof(sockaddr_storage)};
  ::getsockname(fd, address.get(), &address.length);
  return to_string(address);
}

}  // namespace godwit::control

namespace godwit {

Status require_loopback(const std::string& address) {
  ASSIGN_OR_RETURN(const std::vector<SocketAddress> addresses,
                   resolve(address, AddressUse::kListen));
  if (std::all_of(addresses.begin(), addresses.end(), is_loopback)) return {};
  return fail(Errc::kRefused,
              "{} can be reached from other machines, and nothing says who may take part: give "
              "--psk-file FILE (made by `godwit keygen`) or --tls-dir DIR on both sides, or "
              "--insecure to go without encryption and authentication",
              address);
}

}  // namespace godwit
