// SPDX-License-Identifier: Apache-2.0
//
// Connecting to a host that serves benches, which may be known by several addresses.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/agent_options.h"
#include "cli/interrupt_watcher.h"
#include "engine/control_channel.h"

namespace godwit::cli {

// Tries "HOST:PORT" after "HOST:PORT". Addresses that this host has as well come last: every host
// with containers has the same bridge, and it leads to nobody else. Errors: those of the first that
// was tried; kRefused when nobody may be talked to there without security.
Result<std::unique_ptr<ControlChannel>> connect_to_bench_host(
    const std::vector<std::string>& addresses, const AgentOptions& options,
    const InterruptWatcher& interrupts);

}  // namespace godwit::cli
