// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/stopped_thread.h"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "vmm-adapters/linux/numbered_entries.h"

namespace godwit {
namespace {

constexpr uint16_t kSyscallInstruction = 0x050f;  // 0f 05
constexpr uint64_t kSyscallInstructionBytes = 2;
constexpr uint64_t kCodeSegment64 = 0x33;

// What a stop at the entry or exit of a system call looks like (PTRACE_O_TRACESYSGOOD).
constexpr int kCallStop = SIGTRAP | 0x80;

// Far more than any call takes that is run here; the thread can only be on its way.
constexpr auto kCallDuration = std::chrono::seconds(5);

// Between looks at a thread that is on its way into a stop.
constexpr auto kLookAgainAfter = std::chrono::microseconds(20);

bool is_poll_like(int64_t system_call) {
  return system_call == SYS_ppoll || system_call == SYS_poll || system_call == SYS_epoll_wait ||
         system_call == SYS_epoll_pwait || system_call == SYS_select || system_call == SYS_pselect6;
}

// The kernel's internal answers of an interrupted call that is to be entered again.
bool is_restart(uint64_t answer) {
  auto value = static_cast<int64_t>(answer);
  constexpr int64_t kErestartsys = -512;
  constexpr int64_t kErestartnointr = -513;
  constexpr int64_t kErestartnohand = -514;
  constexpr int64_t kErestartRestartblock = -516;
  return value == kErestartsys || value == kErestartnointr || value == kErestartnohand ||
         value == kErestartRestartblock;
}

std::vector<pid_t> threads_of(pid_t pid) {
  std::vector<pid_t> threads{pid};  // the main thread first
  // A process without a folder has ended, which whoever stops its threads finds out.
  (void)for_each_number(fmt::format("/proc/{}/task", pid), [&](pid_t tid) {
    if (tid != pid) threads.push_back(tid);
  });
  return threads;
}

// Which system call the thread is waiting in; -1 when it runs.
int64_t waiting_in(pid_t pid, pid_t tid) {
  std::ifstream file(fmt::format("/proc/{}/task/{}/syscall", pid, tid));
  int64_t number = -1;
  return file >> number ? number : -1;
}

template <typename Address, typename Value>
long trace(__ptrace_request request, pid_t tid, Address address, Value value) {
  // SAFETY: ptrace takes numbers and pointers through the same two arguments.
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  return ptrace(request, tid, (void*)address, (void*)value);
}

}  // namespace

Result<std::unique_ptr<StoppedThread>> StoppedThread::stop_one_of(pid_t pid, Deadline deadline) {
  while (Clock::now() < deadline) {
    for (pid_t tid : threads_of(pid)) {
      if (!is_poll_like(waiting_in(pid, tid))) continue;
      std::unique_ptr<StoppedThread> thread(new StoppedThread(tid));
      if (trace(PTRACE_SEIZE, tid, 0L, static_cast<long>(PTRACE_O_TRACESYSGOOD)) != 0) {
        if (errno == ESRCH) continue;  // the thread ended meanwhile
        if (errno == EPERM) {
          return fail(
              Errc::kRefused,
              "may not attach to process {}: run as root or with CAP_SYS_PTRACE, and let no "
              "debugger be attached to it",
              pid);
        }
        return fail_errno(errno, "attach to thread {} of process {}", tid, pid);
      }
      if (trace(PTRACE_INTERRUPT, tid, 0L, 0L) != 0) {
        return fail_errno(errno, "interrupt thread {} of process {}", tid, pid);
      }
      RETURN_IF_ERROR(thread->wait_for_interruption(deadline));
      if (!thread->save_registers())
        continue;  // it had left its call; the destructor lets it go on
      return thread;
    }
    std::this_thread::sleep_for(kLookAgainAfter);
  }
  return fail(Errc::kTimeout, "no thread of process {} was found waiting for events", pid);
}

Result<int> StoppedThread::next_stop(Deadline deadline) {
  while (true) {
    int status = 0;
    pid_t waited = waitpid(tid_, &status, __WALL | WNOHANG);
    if (waited == tid_ && WIFSTOPPED(status)) return status;
    if (waited != 0) {
      stop_ = Stop::kNone;
      return fail(Errc::kGuest, "thread {} ended", tid_);
    }
    if (Clock::now() > deadline) return fail(Errc::kTimeout, "thread {} did not stop", tid_);
    std::this_thread::yield();  // a few microseconds away, while a guest may be waiting
  }
}

Status StoppedThread::wait_for_interruption(Deadline deadline) {
  while (true) {
    ASSIGN_OR_RETURN(int status, next_stop(deadline));
    stopped_since_ = Clock::now();
    if (status >> 16 == PTRACE_EVENT_STOP) {
      stop_ = Stop::kInterrupted;
      if (WSTOPSIG(status) == SIGTRAP) return {};
      return fail(Errc::kRefused, "process of thread {} is stopped (job control): continue it",
                  tid_);
    }
    // A signal of the thread's own came first: it gets it, and our interruption is still to come.
    if (trace(PTRACE_CONT, tid_, 0L, static_cast<long>(WSTOPSIG(status))) != 0) {
      return fail_errno(errno, "pass signal {} on to thread {}", WSTOPSIG(status), tid_);
    }
  }
}

Status StoppedThread::save_registers() {
  iovec registers{&registers_, sizeof(registers_)};
  if (trace(PTRACE_GETREGSET, tid_, static_cast<long>(NT_PRSTATUS), &registers) != 0) {
    return fail_errno(errno, "read registers of thread {}", tid_);
  }
  // A 32-bit program, or a thread that was outside a call or past it when the stop came.
  if (registers_.cs != kCodeSegment64 || !is_poll_like(static_cast<int64_t>(registers_.orig_rax)) ||
      !is_restart(registers_.rax)) {
    return fail(Errc::kSystem, "thread {} does not wait any more", tid_);
  }
  errno = 0;
  long code = trace(PTRACE_PEEKTEXT, tid_, registers_.rip - kSyscallInstructionBytes, 0L);
  if (errno != 0 || static_cast<uint16_t>(code) != kSyscallInstruction) {
    return fail(Errc::kSystem, "thread {} is not at a system call instruction", tid_);
  }
  registers_saved_ = true;
  return {};
}

Status StoppedThread::set_registers(user_regs_struct registers) {
  iovec vector{&registers, sizeof(registers)};
  if (trace(PTRACE_SETREGSET, tid_, static_cast<long>(NT_PRSTATUS), &vector) != 0) {
    return fail_errno(errno, "set registers of thread {}", tid_);
  }
  return {};
}

Status StoppedThread::go_to_call_boundary() {
  if (trace(PTRACE_SYSCALL, tid_, 0L, 0L) != 0) {
    return fail_errno(errno, "continue thread {}", tid_);
  }
  ASSIGN_OR_RETURN(int status, next_stop(deadline_in(kCallDuration)));
  if (WSTOPSIG(status) == kCallStop) {
    stop_ = Stop::kAfterCall;
    return {};
  }
  bool group_stop = status >> 16 == PTRACE_EVENT_STOP;
  stop_ = group_stop ? Stop::kInterrupted : Stop::kSignal;
  signal_ = WSTOPSIG(status);
  return fail(Errc::kTimeout, "thread {} was wanted by signal {}", tid_, signal_);
}

Result<int64_t> StoppedThread::run(const SystemCall& call) {
  user_regs_struct changed = registers_;
  changed.rip -= kSyscallInstructionBytes;
  changed.rax = static_cast<uint64_t>(call.number);
  changed.orig_rax = ~uint64_t{0};  // not in a call: nothing to enter again
  changed.rdi = call.arguments[0];
  changed.rsi = call.arguments[1];
  changed.rdx = call.arguments[2];
  RETURN_IF_ERROR(set_registers(changed));
  RETURN_IF_ERROR(go_to_call_boundary());  // its entry
  RETURN_IF_ERROR(go_to_call_boundary());  // its exit
  iovec vector{&changed, sizeof(changed)};
  if (trace(PTRACE_GETREGSET, tid_, static_cast<long>(NT_PRSTATUS), &vector) != 0) {
    return fail_errno(errno, "read registers of thread {}", tid_);
  }
  return static_cast<int64_t>(changed.rax);
}

StoppedThread::~StoppedThread() {
  if (stop_ == Stop::kNone) return;
  if (stop_ == Stop::kAfterCall) {
    // The kernel enters an interrupted call again only where it looks for signals. Bring the thread
    // there, as our first interruption did.
    trace(PTRACE_INTERRUPT, tid_, 0L, 0L);
    trace(PTRACE_CONT, tid_, 0L, 0L);
    if (!next_stop(deadline_in(kCallDuration))) return;
  }
  if (registers_saved_) static_cast<void>(set_registers(registers_));
  trace(PTRACE_DETACH, tid_, 0L, static_cast<long>(stop_ == Stop::kSignal ? signal_ : 0));
}

}  // namespace godwit
