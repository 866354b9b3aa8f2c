// SPDX-License-Identifier: Apache-2.0
//
// Where commands that wait for a peer's control connection get their listener.
#pragma once

#include <memory>
#include <string>

#include "engine/base/result.h"
#include "transports/control/control_listener.h"

namespace godwit::cli {

// Says on stderr whom it turns away, and why.
Result<std::unique_ptr<ControlListener>> listen_for_peers(const std::string& address,
                                                          const ControlSecurity& security);

}  // namespace godwit::cli
