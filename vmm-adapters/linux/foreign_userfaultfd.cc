// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/foreign_userfaultfd.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/syscall.h>

#include <cerrno>
#include <thread>

#include "vmm-adapters/linux/pagemap_scan.h"
#include "vmm-adapters/linux/stopped_thread.h"

namespace godwit {
namespace {

Result<UniqueFd> open_pidfd(pid_t pid) {
  UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!fd.valid()) return fail_errno(errno, "pidfd_open of process {}", pid);
  return fd;
}

// Makes the thread open one. Returns its number there.
Result<int> open_in(StoppedThread& thread) {
  constexpr uint64_t kFlags = O_CLOEXEC | O_NONBLOCK;
  ASSIGN_OR_RETURN(int64_t answer, thread.run({SYS_userfaultfd, {kFlags}}));
  if (answer == -EPERM) {
    // An unprivileged VMM gets one for user-mode faults only; write tracking sees the kernel's
    // writes through it all the same.
    ASSIGN_OR_RETURN(answer, thread.run({SYS_userfaultfd, {kFlags | UFFD_USER_MODE_ONLY}}));
  }
  if (answer < 0) {
    return fail_errno(static_cast<int>(-answer), "userfaultfd in the VMM's process");
  }
  return static_cast<int>(answer);
}

// Closes a descriptor in the process, by a thread that may have to be found anew.
Status close_in_process(pid_t pid, int number, Deadline deadline) {
  while (true) {
    ASSIGN_OR_RETURN(std::unique_ptr<StoppedThread> thread,
                     StoppedThread::stop_one_of(pid, deadline));
    Result<int64_t> closed = thread->run({SYS_close, {static_cast<uint64_t>(number)}});
    if (closed || closed.error().code != Errc::kTimeout) return closed.map([](int64_t) {});
  }
}

// One try. Errors: kTimeout when a signal came in between; nothing is left behind then.
Result<ForeignUserfaultfd> open_once(pid_t pid, int pidfd, Deadline deadline) {
  ASSIGN_OR_RETURN(std::unique_ptr<StoppedThread> thread,
                   StoppedThread::stop_one_of(pid, deadline));
  Clock::time_point stopped_since = thread->stopped_since();
  ASSIGN_OR_RETURN(int number, open_in(*thread));
  UniqueFd taken(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd, number, 0)));
  int getfd_errno = errno;
  Result<int64_t> closed = thread->run({SYS_close, {static_cast<uint64_t>(number)}});
  thread.reset();
  Clock::duration thread_stopped = Clock::now() - stopped_since;
  if (!closed) RETURN_IF_ERROR(close_in_process(pid, number, deadline));
  if (!taken.valid()) return fail_errno(getfd_errno, "pidfd_getfd from process {}", pid);
  return ForeignUserfaultfd{std::move(taken), thread_stopped};
}

Result<ForeignUserfaultfd> open_in_process(pid_t pid, Deadline deadline) {
  ASSIGN_OR_RETURN(UniqueFd pidfd, open_pidfd(pid));
  while (true) {
    Result<ForeignUserfaultfd> result = open_once(pid, pidfd.get(), deadline);
    bool again = !result && result.error().code == Errc::kTimeout && Clock::now() < deadline;
    if (!again) return result;
  }
}

}  // namespace

Result<ForeignUserfaultfd> open_userfaultfd_of(pid_t pid, Deadline deadline) {
  // In a thread of its own: whatever goes wrong, its end makes the kernel detach and let go.
  Result<ForeignUserfaultfd> result = fail(Errc::kSystem, "not run");
  std::thread worker([&] { result = open_in_process(pid, deadline); });
  worker.join();
  return result;
}

Status probe_process_access(pid_t pid) {
  constexpr const char* kAdvice = "run as root or with CAP_SYS_PTRACE";
  if (Result<UniqueFd> pagemap = open_pagemap(pid); !pagemap) {
    return fail(Errc::kRefused, "may not read the memory map of process {}: {} ({})", pid, kAdvice,
                to_string(pagemap.error()));
  }
  ASSIGN_OR_RETURN(UniqueFd process, open_pidfd(pid));
  // Taking a descriptor asks for the same right as attaching. Standard input will do; it may be
  // closed.
  UniqueFd taken(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), 0, 0)));
  if (!taken.valid() && errno == EPERM) {
    return fail(Errc::kRefused, "may not attach to process {} (ptrace, pidfd_getfd): {}", pid,
                kAdvice);
  }
  if (!taken.valid() && errno == ENOSYS) {
    return fail(Errc::kRefused, "this kernel has no pidfd_getfd; Linux 5.6 or later has it");
  }
  return {};
}

}  // namespace godwit
