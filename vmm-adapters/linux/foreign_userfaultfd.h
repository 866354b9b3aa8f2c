// SPDX-License-Identifier: Apache-2.0
//
// A userfaultfd of another process's address space, without that process's help. There is no way to
// make one from outside, so one of its threads is made to (StoppedThread), and the descriptor is
// taken over with pidfd_getfd.
//
// For write tracking the process's own copy is closed again: when the last holder, i.e. this
// process, ends in whatever way, the kernel removes every write protection by itself. For page
// faults it is kept, for the opposite reason: without a holder whoever waits for a page would go
// on, and read zeroes.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/time.h"
#include "engine/base/unique_fd.h"
#include "vmm-adapters/linux/stopped_thread.h"

namespace godwit {

struct ForeignUserfaultfd {
  UniqueFd fd;
  Clock::duration thread_stopped;  // how long the thread did not run
};

// For write tracking. An unprivileged process gets one for user-mode faults only, which sees the
// kernel's writes all the same. Errors: kRefused without the right to do it.
Result<ForeignUserfaultfd> open_userfaultfd_of(pid_t pid, Deadline deadline);

struct KeptUserfaultfd {
  UniqueFd fd;
  int number;  // of the process's own copy
};

// For page faults, those of the kernel on the process's behalf included. `device` is the number of
// a descriptor of /dev/userfaultfd in the process, for one that has no right to the system call.
// Errors: kRefused without the right to do it; with errno EPERM when a device would help.
Result<KeptUserfaultfd> open_kept_userfaultfd_of(pid_t pid, std::optional<int> device,
                                                 Deadline deadline);

// The numbers of the process's descriptors that are called so in /proc/PID/fd.
Result<std::vector<int>> find_descriptors(pid_t pid, std::string_view name);
inline constexpr std::string_view kUserfaultfdName = "anon_inode:[userfaultfd]";
inline constexpr std::string_view kUserfaultfdDevice = "/dev/userfaultfd";

// Takes a copy of a descriptor of the process. Nothing in it is stopped.
Result<UniqueFd> take_descriptor(pid_t pid, int number);

// Makes a thread of the process run a system call, in a new try whenever a signal comes in between.
// Errors: kSystem when the call failed.
Result<int64_t> run_in_process(pid_t pid, const StoppedThread::SystemCall& call, Deadline deadline);

// Says whether this process may do all that it takes, without touching the other one: read its
// memory map, attach to it and take its descriptors. Errors: kRefused, naming the missing right.
Status probe_process_access(pid_t pid);

}  // namespace godwit
