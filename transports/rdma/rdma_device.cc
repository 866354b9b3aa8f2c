// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/rdma_device.h"

#include <arpa/inet.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

namespace godwit {
namespace {

constexpr uint8_t kPort = 1;

bool has_active_port(ibv_context* context) {
  ibv_port_attr port{};
  return ibv_query_port(context, kPort, &port) == 0 && port.state == IBV_PORT_ACTIVE;
}

// rdma_cm's contexts of all devices. They stay open for the life of the process, whatever becomes
// of the list (librdmacm, cma.c).
std::vector<ibv_context*> all_contexts() {
  int count = 0;
  ibv_context** list = rdma_get_devices(&count);
  if (list == nullptr) return {};
  std::vector<ibv_context*> contexts(list, list + count);
  rdma_free_devices(list);
  return contexts;
}

}  // namespace

Result<std::shared_ptr<RdmaDevice>> RdmaDevice::open(const std::string& name) {
  for (ibv_context* context : all_contexts()) {
    if (!name.empty() && name != ibv_get_device_name(context->device)) continue;
    if (!has_active_port(context)) {
      if (name.empty()) continue;
      return fail(Errc::kRefused, "RDMA device {}: its port is not active (rdma link)", name);
    }
    ibv_device_attr attributes{};
    if (const int error = ibv_query_device(context, &attributes); error != 0)
      return fail_errno(error, "query RDMA device {}", ibv_get_device_name(context->device));
    VerbsHandle<ibv_pd> domain(ibv_alloc_pd(context));
    if (domain == nullptr) return fail_errno(errno, "allocate a protection domain");
    return std::shared_ptr<RdmaDevice>(new RdmaDevice(context, std::move(domain), attributes));
  }
  if (name.empty()) return fail(Errc::kRefused, "no RDMA device with an active port (rdma link)");
  return fail(Errc::kRefused, "no RDMA device {} (rdma link)", name);
}

std::string RdmaDevice::host() const {
  ibv_port_attr port{};
  if (ibv_query_port(context_, kPort, &port) != 0) return {};
  constexpr std::array<uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  for (int index = 0; index < port.gid_tbl_len; ++index) {
    ibv_gid gid{};
    if (ibv_query_gid(context_, kPort, index, &gid) != 0) continue;
    if (std::memcmp(gid.raw, kMapped.data(), kMapped.size()) != 0) continue;
    std::array<char, INET_ADDRSTRLEN> text{};
    if (inet_ntop(AF_INET, &gid.raw[12], text.data(), text.size()) != nullptr) return text.data();
  }
  return {};
}

}  // namespace godwit
