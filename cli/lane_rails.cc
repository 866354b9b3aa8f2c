// SPDX-License-Identifier: Apache-2.0
#include "cli/lane_rails.h"

#include "cli/lane_address.h"
#include "transports/address/subnet.h"
#include "transports/rdma/rail_list.h"
#include "transports/rdma/rdma_transport.h"
#include "transports/tcp/tcp_transport.h"

namespace godwit::cli {
namespace {

// Those that were asked for, or all that can be used.
std::vector<std::string> choose_rails(const AgentOptions& options) {
  if (!options.rails.empty()) return options.rails;
  std::vector<std::string> names;
  for (const RdmaRail& rail : list_rails()) {
    if (rail.usable) names.push_back(rail.name);
  }
  // One without a name says best what is missing.
  if (names.empty()) names.emplace_back();
  return names;
}

// The map of this host where placement has a choice: hwloc takes its time to draw it.
numa::Topology read_topology(const AgentOptions& options) {
  if (const std::optional<int> only = numa::only_node())
    return {.nodes = {{.number = *only, .memory_bytes = 0, .cores = {}}},
            .distances = {},
            .devices = {}};
  if (options.transport == "tcp") return {};
  return numa::Topology::of_this_host().value_or(numa::Topology());
}

int node_of(const numa::Topology& topology, const std::string& device_name) {
  if (topology.nodes.size() == 1) return topology.nodes.front().number;
  const numa::Device* device = topology.find_device(numa::Device::Kind::kRdma, device_name);
  return device == nullptr ? numa::kUnknownNode : device->node;
}

Status add_rdma(const AgentOptions& options, LaneRails& rails) {
  const std::vector<std::string> names = choose_rails(options);
  for (const std::string& name : names) {
    RdmaOptions rdma{.device = name};
    // Where nothing else could take over, a loose cable is waited for.
    if (names.size() == 1 && options.transport == "rdma") rdma.port_down_max = rdma.peer_timeout;
    ASSIGN_OR_RETURN(std::unique_ptr<RdmaTransport> transport, RdmaTransport::open(rdma));
    rails.rails.push_back({.name = name.empty() ? transport->device_name() : name,
                           .transport = transport.get(),
                           .numa_node = node_of(rails.topology, transport->device_name()),
                           .is_neighbour = [host = transport->host()](const std::string& address) {
                             return is_on_subnet_of(host, address);
                           }});
    rails.transports.push_back(std::move(transport));
  }
  return {};
}

Status add_tcp(const AgentOptions& options, RailUse use, LaneRails& rails) {
  TcpOptions tcp;
  tcp.checksums = options.no_checksum ? PayloadChecksums::kOff : PayloadChecksums::kOn;
  ASSIGN_OR_RETURN(std::unique_ptr<TcpTransport> transport, TcpTransport::open(tcp));
  rails.rails.push_back({.name = "tcp", .transport = transport.get(), .use = use});
  rails.transports.push_back(std::move(transport));
  return {};
}

}  // namespace

Result<LaneRails> make_lane_rails(const AgentOptions& options) {
  LaneRails rails;
  rails.topology = read_topology(options);
  if (options.transport != "tcp") {
    const Status added = add_rdma(options, rails);
    // A rail that was named has to be there; that there is none at all is a reason for TCP.
    if (!added && (options.transport == "rdma" || !options.rails.empty()))
      return tl::unexpected<Error>(added.error());
    if (!added) rails.note = to_string(added.error());
  }
  if (options.transport != "rdma") {
    RETURN_IF_ERROR(
        add_tcp(options, rails.rails.empty() ? RailUse::kAlways : RailUse::kLastResort, rails));
  }
  return rails;
}

void set_listen_addresses(LaneRails& rails, const std::string& asked, const std::string& control) {
  for (size_t i = 0; i < rails.rails.size(); ++i) {
    Rail& rail = rails.rails[i];
    if (const auto* rdma = dynamic_cast<const RdmaTransport*>(rails.transports[i].get())) {
      rail.listen = rdma->host() + ":0";
      continue;
    }
    const LaneAddress lanes = choose_lane_address(asked, control);
    rail.listen = lanes.listen;
    rail.advertise_host = lanes.advertise_host;
  }
}

}  // namespace godwit::cli
