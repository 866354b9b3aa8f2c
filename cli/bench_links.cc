// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_links.h"

#include "engine/qualify/link_facts.h"
#include "transports/address/route.h"
#include "transports/rdma/rail_list.h"

namespace godwit::cli {
namespace {

constexpr char kSysfs[] = "/sys";

}  // namespace

LinkDescription describe_link(const Rail& rail, const std::string& peer) {
  if (rail.transport->capabilities().name == "tcp")
    return qualify::describe_interface(interface_towards(peer), kSysfs);
  for (const RdmaRail& known : list_rails()) {
    // A rail may have been named by its device alone.
    if (known.name == rail.name || known.device == rail.name)
      return qualify::describe_rdma_port(
          {.device = known.device, .port = known.port, .interface = known.netdev}, kSysfs);
  }
  return {.device = rail.name};
}

}  // namespace godwit::cli
