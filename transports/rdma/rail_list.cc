// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/rail_list.h"

#include <fmt/core.h>

#include "transports/rdma/port_address.h"
#include "transports/rdma/rdma_device.h"

namespace godwit {
namespace {

std::string state_name(ibv_port_state state) {
  switch (state) {
    case IBV_PORT_NOP:
      return "no state change";
    case IBV_PORT_DOWN:
      return "down";
    case IBV_PORT_INIT:
      return "initialising";
    case IBV_PORT_ARMED:
      return "armed";
    case IBV_PORT_ACTIVE:
      return "active";
    case IBV_PORT_ACTIVE_DEFER:
      return "active, deferred";
  }
  return "unknown";
}

RdmaRail rail_of(ibv_context* context, uint8_t port, ibv_port_state state) {
  const std::string device = ibv_get_device_name(context->device);
  RdmaRail rail{.name = fmt::format("{}:{}", device, port),
                .device = device,
                .port = port,
                .state = state_name(state),
                .usable = false,
                .gid = {},
                .host = {},
                .netdev = {}};
  const std::optional<PortAddress> address = find_port_address(context, port, std::nullopt);
  if (!address) return rail;
  rail.name += fmt::format("/{}", address->gid_index);
  rail.usable = state == IBV_PORT_ACTIVE && !address->host.empty();
  rail.gid = address->gid;
  rail.host = address->host;
  rail.netdev = address->netdev;
  return rail;
}

}  // namespace

std::vector<RdmaRail> list_rails() {
  std::vector<RdmaRail> rails;
  for (ibv_context* context : all_device_contexts()) {
    ibv_device_attr device{};
    if (ibv_query_device(context, &device) != 0) continue;
    for (int number = 1; number <= device.phys_port_cnt; ++number) {
      const auto port = static_cast<uint8_t>(number);
      ibv_port_attr attributes{};
      if (ibv_query_port(context, port, &attributes) != 0) continue;
      rails.push_back(rail_of(context, port, attributes.state));
    }
  }
  return rails;
}

}  // namespace godwit
