// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/port_address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>

#include <array>
#include <cstring>

namespace godwit {
namespace {

std::string text_of(int family, const void* address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (inet_ntop(family, address, text.data(), text.size()) == nullptr) return {};
  return text.data();
}

in6_addr ipv6_of(const ibv_gid& gid) {
  in6_addr address{};
  std::memcpy(&address, gid.raw, sizeof(address));
  return address;
}

bool is_ipv4(const ibv_gid& gid) {
  const in6_addr address = ipv6_of(gid);
  return IN6_IS_ADDR_V4MAPPED(&address) != 0;
}

std::string host_of(const ibv_gid_entry& entry, const std::string& netdev) {
  if (entry.gid_type == IBV_GID_TYPE_IB) return {};
  if (is_ipv4(entry.gid)) return text_of(AF_INET, &entry.gid.raw[12]);
  const in6_addr address = ipv6_of(entry.gid);
  // A link-local address says nothing without its link.
  const std::string scope = IN6_IS_ADDR_LINKLOCAL(&address) ? "%" + netdev : "";
  return "[" + text_of(AF_INET6, &address) + scope + "]";
}

PortAddress address_of(const ibv_gid_entry& entry) {
  std::array<char, IF_NAMESIZE> netdev{};
  if (entry.ndev_ifindex != 0) if_indextoname(entry.ndev_ifindex, netdev.data());
  return {.gid_index = entry.gid_index,
          .gid = text_of(AF_INET6, entry.gid.raw),
          .host = host_of(entry, netdev.data()),
          .netdev = netdev.data()};
}

}  // namespace

std::optional<PortAddress> find_port_address(ibv_context* context, uint8_t port,
                                             std::optional<uint32_t> gid_index) {
  ibv_port_attr attributes{};
  if (ibv_query_port(context, port, &attributes) != 0) return std::nullopt;
  const auto length = static_cast<uint32_t>(attributes.gid_tbl_len);
  for (uint32_t index = gid_index.value_or(0); index < length; ++index) {
    ibv_gid_entry entry{};
    // An entry that is not in use is an error to the query.
    const bool in_use = ibv_query_gid_ex(context, port, index, &entry, 0) == 0;
    if (gid_index && !in_use) return std::nullopt;
    if (!in_use) continue;
    if (gid_index || (entry.gid_type == IBV_GID_TYPE_ROCE_V2 && is_ipv4(entry.gid)))
      return address_of(entry);
  }
  return std::nullopt;
}

bool has_port_address(ibv_context* context, uint8_t port, const ibv_gid& gid) {
  ibv_port_attr attributes{};
  if (ibv_query_port(context, port, &attributes) != 0) return false;
  for (int index = 0; index < attributes.gid_tbl_len; ++index) {
    ibv_gid entry{};
    if (ibv_query_gid(context, port, index, &entry) == 0 &&
        std::memcmp(entry.raw, gid.raw, sizeof(gid.raw)) == 0)
      return true;
  }
  return false;
}

}  // namespace godwit
