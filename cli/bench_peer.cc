// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_peer.h"

#include <algorithm>

#include "transports/address/own_addresses.h"
#include "transports/control/control_connect.h"

namespace godwit::cli {
namespace {

constexpr seconds kConnectMax{10};
// Of one among several.
constexpr seconds kTryMax{3};

bool is_own(const std::string& address) {
  const std::string host = address.substr(0, address.rfind(':'));
  const std::vector<OwnAddress> own = own_addresses();
  return std::ranges::find(own, host, &OwnAddress::host) != own.end();
}

}  // namespace

Result<std::unique_ptr<ControlChannel>> connect_to_bench_host(
    const std::vector<std::string>& addresses, const AgentOptions& options,
    const InterruptWatcher& interrupts) {
  std::vector<std::string> ordered = addresses;
  if (ordered.size() > 1)
    std::stable_partition(ordered.begin(), ordered.end(),
                          [](const std::string& address) { return !is_own(address); });
  Result<std::unique_ptr<ControlChannel>> first = fail(Errc::kRefused, "it has no address");
  for (const std::string& address : ordered) {
    ASSIGN_OR_RETURN(const ControlSecurity security, choose_security(options, address));
    Result<std::unique_ptr<ControlChannel>> channel =
        connect_control(address, security, deadline_in(ordered.size() > 1 ? kTryMax : kConnectMax),
                        interrupts.fd());
    if (channel || channel.error().code == Errc::kCancelled) return channel;
    if (&address == &ordered.front()) first = std::move(channel);
  }
  return first;
}

}  // namespace godwit::cli
