// SPDX-License-Identifier: Apache-2.0
#include "transports/address/subnet.h"

#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>
#include <memory>
#include <span>

#include "transports/address/socket_address.h"

namespace godwit {
namespace {

std::span<const std::byte> ip_bytes(const sockaddr& address) {
  // SAFETY: the family says which of the two it is.
  if (address.sa_family == AF_INET)
    return std::as_bytes(std::span(&reinterpret_cast<const sockaddr_in&>(address).sin_addr, 1));
  return std::as_bytes(std::span(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, 1));
}

bool is_ip(const sockaddr* address) {
  return address != nullptr && (address->sa_family == AF_INET || address->sa_family == AF_INET6);
}

bool share_prefix(const sockaddr& one, const sockaddr& other, const sockaddr& mask) {
  if (one.sa_family != other.sa_family || mask.sa_family != one.sa_family) return false;
  const auto a = ip_bytes(one);
  const auto b = ip_bytes(other);
  const auto bits = ip_bytes(mask);
  for (size_t i = 0; i < a.size(); ++i) {
    if ((a[i] & bits[i]) != (b[i] & bits[i])) return false;
  }
  return true;
}

}  // namespace

bool is_on_subnet_of(const std::string& own, const std::string& address) {
  const bool bare_ipv6 = own.find(':') != std::string::npos && !own.starts_with('[');
  const auto ours = resolve(bare_ipv6 ? "[" + own + "]:1" : own + ":1", AddressUse::kConnect);
  const auto theirs = resolve(address, AddressUse::kConnect);
  ifaddrs* list = nullptr;
  if (!ours || !theirs || ::getifaddrs(&list) != 0) return false;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, &::freeifaddrs);
  const sockaddr& own_address = *ours->front().get();
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (!is_ip(entry->ifa_addr) || !is_ip(entry->ifa_netmask)) continue;
    if (entry->ifa_addr->sa_family != own_address.sa_family ||
        !std::ranges::equal(ip_bytes(*entry->ifa_addr), ip_bytes(own_address)))
      continue;
    return share_prefix(own_address, *theirs->front().get(), *entry->ifa_netmask);
  }
  return false;
}

}  // namespace godwit
