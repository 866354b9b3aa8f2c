// SPDX-License-Identifier: Apache-2.0
#include "transports/address/route.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <memory>
#include <string>

#include "engine/base/unique_fd.h"
#include "transports/address/socket_address.h"

namespace godwit {
namespace {

// The address that a datagram to `peer` would leave from.
bool find_own_address(const SocketAddress& peer, sockaddr_storage& own) {
  const UniqueFd socket(::socket(peer.get()->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  socklen_t length = sizeof own;
  return socket.valid() && ::connect(socket.get(), peer.get(), peer.length) == 0 &&
         ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &length) == 0;
}

bool same_host(const sockaddr* left, const sockaddr* right) {
  if (left == nullptr || left->sa_family != right->sa_family) return false;
  if (left->sa_family == AF_INET) {
    return std::memcmp(&reinterpret_cast<const sockaddr_in*>(left)->sin_addr,
                       &reinterpret_cast<const sockaddr_in*>(right)->sin_addr,
                       sizeof(in_addr)) == 0;
  }
  return left->sa_family == AF_INET6 &&
         std::memcmp(&reinterpret_cast<const sockaddr_in6*>(left)->sin6_addr,
                     &reinterpret_cast<const sockaddr_in6*>(right)->sin6_addr,
                     sizeof(in6_addr)) == 0;
}

}  // namespace

std::string interface_towards(const std::string& address) {
  const auto peers = resolve(address, AddressUse::kConnect);
  sockaddr_storage own{};
  if (!peers || !find_own_address(peers->front(), own)) return "";
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return "";
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (same_host(entry->ifa_addr, reinterpret_cast<const sockaddr*>(&own))) return entry->ifa_name;
  }
  return "";
}

}  // namespace godwit
