// SPDX-License-Identifier: Apache-2.0
//
// Which transport carries the lanes.
#pragma once

#include <memory>

#include "cli/agent_options.h"
#include "engine/base/result.h"
#include "engine/transport.h"

namespace godwit::cli {

Result<std::unique_ptr<Transport>> make_lane_transport(const AgentOptions& options);

}  // namespace godwit::cli
