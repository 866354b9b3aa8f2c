// SPDX-License-Identifier: Apache-2.0
//
// The source's end of the control connection.
#pragma once

#include <memory>
#include <string>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/control_channel.h"
#include "transports/control/control_security.h"

namespace godwit {

// Connects to "HOST:PORT" and returns when both sides know each other.
// Errors: kPeerLost when nobody is there; kRefused when it is not who it should be, or not Godwit;
// kTimeout; kCancelled as soon as `interrupt_fd` (-1: none) is readable.
Result<std::unique_ptr<ControlChannel>> connect_control(const std::string& address,
                                                        const ControlSecurity& security,
                                                        Deadline deadline, int interrupt_fd = -1);

}  // namespace godwit
