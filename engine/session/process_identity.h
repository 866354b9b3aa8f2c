// SPDX-License-Identifier: Apache-2.0
//
// Names a process so that a later one with the same number is not taken for it. Used before
// anything is concluded from, or sent to, a process number that was read from a file.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "engine/base/result.h"
#include "engine/base/time.h"

namespace godwit {

struct ProcessIdentity {
  pid_t pid = 0;
  uint64_t start_ticks = 0;  // since boot, as /proc/PID/stat has it
};

// Errors: kSystem when there is no such process.
Result<ProcessIdentity> identify_process(pid_t pid);

// False also for a zombie: it does nothing any more.
bool is_running(const ProcessIdentity& process);

// Waits for the end of the process, and returns whether it came by the deadline.
bool await_end(const ProcessIdentity& process, Deadline deadline);

// Errors: kRefused when the process is gone.
Status send_signal(const ProcessIdentity& process, int signal_number);

}  // namespace godwit
