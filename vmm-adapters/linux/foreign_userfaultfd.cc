// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/foreign_userfaultfd.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>
#include <string>
#include <thread>

#include "vmm-adapters/linux/numbered_entries.h"
#include "vmm-adapters/linux/pagemap_scan.h"

namespace godwit {
namespace {

Result<UniqueFd> open_pidfd(pid_t pid) {
  UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!fd.valid()) return fail_errno(errno, "pidfd_open of process {}", pid);
  return fd;
}

constexpr uint64_t kFlags = O_CLOEXEC | O_NONBLOCK;

// Calls `attempt` until no signal comes in between, in a thread of its own: whatever goes wrong,
// its end makes the kernel detach and let go.
template <typename T>
Result<T> in_own_thread(Deadline deadline, const std::function<Result<T>()>& attempt) {
  Result<T> result = fail(Errc::kSystem, "not run");
  std::thread worker([&] {
    do {
      result = attempt();
    } while (!result && result.error().code == Errc::kTimeout && Clock::now() < deadline);
  });
  worker.join();
  return result;
}

// Makes the thread open one. Returns its number there.
Result<int> open_in(StoppedThread& thread) {
  ASSIGN_OR_RETURN(int64_t answer, thread.run({SYS_userfaultfd, {kFlags}}));
  if (answer == -EPERM) {
    ASSIGN_OR_RETURN(answer, thread.run({SYS_userfaultfd, {kFlags | UFFD_USER_MODE_ONLY}}));
  }
  if (answer < 0) {
    return fail_errno(static_cast<int>(-answer), "userfaultfd in the VMM's process");
  }
  return static_cast<int>(answer);
}

Result<int64_t> run_once(pid_t pid, const StoppedThread::SystemCall& call, Deadline deadline) {
  ASSIGN_OR_RETURN(std::unique_ptr<StoppedThread> thread,
                   StoppedThread::stop_one_of(pid, deadline));
  return thread->run(call);
}

// Closes a descriptor in the process, by a thread that may have to be found anew.
Status close_in_process(pid_t pid, int number, Deadline deadline) {
  while (true) {
    Result<int64_t> closed = run_once(pid, {SYS_close, {static_cast<uint64_t>(number)}}, deadline);
    if (closed || closed.error().code != Errc::kTimeout || Clock::now() > deadline) {
      return closed.map([](int64_t) {});
    }
  }
}

// One try. Errors: kTimeout when a signal came in between; nothing is left behind then.
Result<ForeignUserfaultfd> open_once(pid_t pid, Deadline deadline) {
  ASSIGN_OR_RETURN(std::unique_ptr<StoppedThread> thread,
                   StoppedThread::stop_one_of(pid, deadline));
  Clock::time_point stopped_since = thread->stopped_since();
  ASSIGN_OR_RETURN(int number, open_in(*thread));
  Result<UniqueFd> taken = take_descriptor(pid, number);
  Result<int64_t> closed = thread->run({SYS_close, {static_cast<uint64_t>(number)}});
  thread.reset();
  Clock::duration thread_stopped = Clock::now() - stopped_since;
  if (!closed) RETURN_IF_ERROR(close_in_process(pid, number, deadline));
  RETURN_IF_ERROR(taken);
  return ForeignUserfaultfd{std::move(*taken), thread_stopped};
}

}  // namespace

Result<ForeignUserfaultfd> open_userfaultfd_of(pid_t pid, Deadline deadline) {
  return in_own_thread<ForeignUserfaultfd>(deadline, [&] { return open_once(pid, deadline); });
}

Result<int64_t> run_in_process(pid_t pid, const StoppedThread::SystemCall& call,
                               Deadline deadline) {
  ASSIGN_OR_RETURN(int64_t answer,
                   in_own_thread<int64_t>(deadline, [&] { return run_once(pid, call, deadline); }));
  if (answer < 0) {
    return fail_errno(static_cast<int>(-answer), "system call {} in process {}", call.number, pid);
  }
  return answer;
}

Result<KeptUserfaultfd> open_kept_userfaultfd_of(pid_t pid, std::optional<int> device,
                                                 Deadline deadline) {
  StoppedThread::SystemCall call{SYS_userfaultfd, {kFlags}};
  if (device) call = {SYS_ioctl, {static_cast<uint64_t>(*device), USERFAULTFD_IOC_NEW, kFlags}};
  Result<int64_t> number = run_in_process(pid, call, deadline);
  if (!number && number.error().os_errno == EPERM) {
    Error refused = number.error();
    refused.code = Errc::kRefused;
    return tl::unexpected<Error>(refused);
  }
  RETURN_IF_ERROR(number);
  Result<UniqueFd> taken = take_descriptor(pid, static_cast<int>(*number));
  if (!taken) {
    static_cast<void>(run_in_process(pid, {SYS_close, {static_cast<uint64_t>(*number)}}, deadline));
    return tl::unexpected<Error>(taken.error());
  }
  return KeptUserfaultfd{std::move(*taken), static_cast<int>(*number)};
}

Result<std::vector<int>> find_descriptors(pid_t pid, std::string_view name) {
  std::vector<int> found;
  const std::string folder = fmt::format("/proc/{}/fd", pid);
  RETURN_IF_ERROR(for_each_number(folder, [&](pid_t number) {
    std::array<char, 64> target;
    const std::string path = fmt::format("{}/{}", folder, number);
    const ssize_t size = readlink(path.c_str(), target.data(), target.size());
    if (size > 0 && std::string_view(target.data(), static_cast<size_t>(size)) == name) {
      found.push_back(number);
    }
  }));
  return found;
}

Result<UniqueFd> take_descriptor(pid_t pid, int number) {
  ASSIGN_OR_RETURN(UniqueFd process, open_pidfd(pid));
  UniqueFd taken(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), number, 0)));
  if (!taken.valid()) return fail_errno(errno, "take descriptor {} of process {}", number, pid);
  return taken;
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
