// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/rdma_device.h"

#include <cerrno>

#include "transports/rdma/rail_name.h"

namespace godwit {
namespace {

bool is_active(ibv_context* context, uint8_t port) {
  ibv_port_attr attributes{};
  return ibv_query_port(context, port, &attributes) == 0 && attributes.state == IBV_PORT_ACTIVE;
}

// The port asked for, or the first one, if it is active.
std::optional<uint8_t> find_active_port(ibv_context* context, std::optional<uint8_t> wanted,
                                        uint8_t port_count) {
  if (wanted) return is_active(context, *wanted) ? wanted : std::nullopt;
  for (int port = 1; port <= port_count; ++port) {
    if (is_active(context, static_cast<uint8_t>(port))) return static_cast<uint8_t>(port);
  }
  return std::nullopt;
}

struct FoundPort {
  ibv_context* context;
  ibv_device_attr attributes;
  uint8_t port;
};

Result<FoundPort> find_port(const RailName& rail) {
  const bool any = rail.device.empty();
  for (ibv_context* context : all_device_contexts()) {
    const std::string name = ibv_get_device_name(context->device);
    if (!any && name != rail.device) continue;
    ibv_device_attr attributes{};
    if (const int error = ibv_query_device(context, &attributes); error != 0)
      return fail_errno(error, "query RDMA device {}", name);
    if (rail.port && *rail.port > attributes.phys_port_cnt) {
      return fail(Errc::kRefused, "RDMA device {} has no port {}, it has {}", name, *rail.port,
                  attributes.phys_port_cnt);
    }
    const std::optional<uint8_t> port =
        find_active_port(context, rail.port, attributes.phys_port_cnt);
    if (port) return FoundPort{context, attributes, *port};
    if (!any) {
      return fail(Errc::kRefused, "RDMA device {}: {} is not active (rdma link)", name,
                  rail.port ? fmt::format("port {}", *rail.port) : "its port");
    }
  }
  if (any) return fail(Errc::kRefused, "no RDMA device with an active port (rdma link)");
  return fail(Errc::kRefused, "no RDMA device {} (rdma link)", rail.device);
}

}  // namespace

std::vector<ibv_context*> all_device_contexts() {
  int count = 0;
  ibv_context** list = rdma_get_devices(&count);
  if (list == nullptr) return {};
  std::vector<ibv_context*> contexts(list, list + count);
  rdma_free_devices(list);
  return contexts;
}

Result<std::shared_ptr<RdmaDevice>> RdmaDevice::open(const RdmaOptions& options) {
  ASSIGN_OR_RETURN(const RailName rail, parse_rail_name(options.device));
  ASSIGN_OR_RETURN(const FoundPort found, find_port(rail));
  std::shared_ptr<RdmaDevice> device(new RdmaDevice(found.context, found.port, found.attributes));
  device->domain_.reset(ibv_alloc_pd(found.context));
  if (device->domain_ == nullptr) return fail_errno(errno, "allocate a protection domain");
  ASSIGN_OR_RETURN(device->port_watch_,
                   PortWatch::open(found.context->device, found.port, options.port_down_max));
  device->address_ = find_port_address(found.context, found.port, rail.gid_index);
  if (rail.gid_index && !device->address_) {
    return fail(Errc::kRefused,
                "port {} of RDMA device {} has no GID {} (rdma link, ibv_devinfo -v)", found.port,
                device->name(), *rail.gid_index);
  }
  if (!rail.device.empty() && !device->host().empty()) {
    ASSIGN_OR_RETURN(const std::vector<SocketAddress> sources,
                     resolve(device->host() + ":0", AddressUse::kListen));
    device->source_ = sources.front();
  }
  return device;
}

DeviceLimits limits_of(const ibv_device_attr& attributes) {
  const auto count = [](int value) { return static_cast<uint32_t>(value < 0 ? 0 : value); };
  return {.requests_max = count(attributes.max_qp_wr),
          .completions_max = count(attributes.max_cqe),
          .reads_served_max = count(attributes.max_qp_rd_atom),
          .reads_asked_max = count(attributes.max_qp_init_rd_atom)};
}

std::optional<SocketAddress> RdmaDevice::source_for(const SocketAddress& peer) const {
  if (!source_ || source_->storage.ss_family != peer.storage.ss_family) return std::nullopt;
  return source_;
}

}  // namespace godwit
