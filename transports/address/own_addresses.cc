// SPDX-License-Identifier: Apache-2.0
#include "transports/address/own_addresses.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <memory>

#include "transports/address/socket_address.h"

namespace godwit {
namespace {

// Such an address means something else on each link.
bool is_link_local(const sockaddr* address) {
  // SAFETY: the family says which of the two it is.
  return address->sa_family == AF_INET6 &&
         IN6_IS_ADDR_LINKLOCAL(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

}  // namespace

std::vector<OwnAddress> own_addresses() {
  std::vector<OwnAddress> addresses;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) == 0) {
    const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
      const sockaddr* address = entry->ifa_addr;
      const bool ip =
          address != nullptr && (address->sa_family == AF_INET || address->sa_family == AF_INET6);
      if (!ip || (entry->ifa_flags & IFF_UP) == 0 || is_link_local(address)) continue;
      const SocketAddress copy = SocketAddress::of(address);
      if (is_loopback(copy)) continue;
      const std::string text = to_string(copy);
      addresses.push_back({entry->ifa_name, text.substr(0, text.rfind(':'))});
    }
  }
  if (addresses.empty()) addresses.push_back({"lo", "127.0.0.1"});
  return addresses;
}

}  // namespace godwit
