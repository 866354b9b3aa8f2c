// SPDX-License-Identifier: Apache-2.0
//
// A userfaultfd of another process's address space, without that process's help. There is no way to
// make one from outside, so one of its threads is made to (StoppedThread), and the descriptor is
// taken over with pidfd_getfd. The process's own copy is closed again: when the last holder, i.e.
// this process, ends in whatever way, the kernel removes every write protection by itself.
#pragma once

#include <sys/types.h>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/base/unique_fd.h"

namespace godwit {

struct ForeignUserfaultfd {
  UniqueFd fd;
  Clock::duration thread_stopped;  // how long the thread did not run
};

// Errors: kRefused without the right to do it.
Result<ForeignUserfaultfd> open_userfaultfd_of(pid_t pid, Deadline deadline);

// Says whether this process may do all that it takes, without touching the other one: read its
// memory map, attach to it and take its descriptors. Errors: kRefused, naming the missing right.
Status probe_process_access(pid_t pid);

}  // namespace godwit
