// SPDX-License-Identifier: Apache-2.0
//
// Plain non-blocking socket calls with their outcomes sorted, and the options that every control
// socket has.
#pragma once

#include <poll.h>

#include <cstddef>
#include <span>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "transports/control/byte_stream.h"

namespace godwit::control {

IoStep receive_some(int fd, std::span<std::byte> bytes);
IoStep send_some(int fd, std::span<const std::byte> bytes);

// No delay for small messages; a peer that vanished is found within 10 seconds, also when nothing
// is being sent.
Status set_control_socket_options(int fd);

// Waits until `fd` has one of `events` (or an error), or the deadline passes, or `interrupt_fd`
// (-1: none) is readable. Errors: kTimeout, kCancelled.
Status wait_for(int fd, short events, int interrupt_fd, Deadline deadline);

}  // namespace godwit::control
