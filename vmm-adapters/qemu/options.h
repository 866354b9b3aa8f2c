// SPDX-License-Identifier: Apache-2.0
//
// How to reach one QEMU.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>

#include "engine/base/time.h"

namespace godwit {

// What becomes of the source QEMU once its guest lives elsewhere.
enum class AfterRelease : uint8_t { kLeavePaused = 1, kQuit = 2 };

// How long QEMU must not see a stream end, in channel mode (QemuChannelSource).
enum class KeptUntil : uint8_t {
  kItMayBreak = 1,   // settle_migration() says when
  kMigrationIsOver,  // and cleaned up
};

struct QemuOptions {
  std::string qmp_path;
  // QEMU's process. Found through the QMP socket when not given; a socket that something else
  // opened for QEMU (a manager, -daemonize) does not tell it.
  std::optional<pid_t> pid;
  AfterRelease after_release = AfterRelease::kLeavePaused;
  // Called with our end of each such stream. Somebody else is to keep that open, and to read from
  // it, should this process die. Null: nobody does.
  std::function<void(int socket, KeptUntil until)> keep_open;
  // For one QMP command. Pausing drains block I/O, which may take a slow disk's time.
  Clock::duration command_timeout = seconds(10);
  // For saving or loading device state.
  Clock::duration state_timeout = seconds(30);
};

}  // namespace godwit
