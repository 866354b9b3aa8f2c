// SPDX-License-Identifier: Apache-2.0
//
// One thread of another process, stopped for a moment while it waits in a poll-like system call,
// and made to run a few system calls in place of it.
//
// Why poll-like: the call is entered again afterwards as if nothing had been. And should this
// process be killed between changing the thread's registers and restoring them, the kernel lets the
// thread go on: it then runs our call at its own `syscall` instruction and takes the answer for
// poll's, which every event loop survives.
//
// Thread: ptrace binds the stopped thread to the thread that stopped it: make, use and destroy
// there.
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <cstdint>
#include <memory>

#include "engine/base/result.h"
#include "engine/base/time.h"

namespace godwit {

class StoppedThread {
 public:
  // Stops a thread of the process; the main thread where it can.
  // Errors: kRefused without the right to (it says which); kTimeout when no thread was found
  // waiting.
  static Result<std::unique_ptr<StoppedThread>> stop_one_of(pid_t pid, Deadline deadline);

  // Restores the thread as it was and lets it go on.
  ~StoppedThread();
  StoppedThread(const StoppedThread&) = delete;
  StoppedThread& operator=(const StoppedThread&) = delete;

  struct SystemCall {
    int64_t number;
    std::array<uint64_t, 3> arguments;
  };

  // Runs it in the thread. Returns what it returned there: negative is an errno.
  // Errors: kTimeout when a signal for the thread came in between. The call was not run; the signal
  // is delivered when this object goes. Try with a new one.
  Result<int64_t> run(const SystemCall& call);

  Clock::time_point stopped_since() const { return stopped_since_; }

 private:
  // Where the thread stands, which decides how it is let go.
  enum class Stop : uint8_t {
    kNone = 1,         // not stopped, or gone
    kInterrupted = 2,  // at its interrupted call, about to look for signals
    kAfterCall = 3,    // behind a call that it ran for us
    kSignal = 4,       // about to get a signal
  };

  explicit StoppedThread(pid_t tid) : tid_(tid) {}

  // Returns the wait status of the next stop.
  Result<int> next_stop(Deadline deadline);
  Status wait_for_interruption(Deadline deadline);
  Status save_registers();
  Status set_registers(user_regs_struct registers);
  // Lets the thread go on to the next entry or exit of a system call.
  Status go_to_call_boundary();

  pid_t tid_;
  Stop stop_ = Stop::kNone;
  int signal_ = 0;  // of Stop::kSignal
  bool registers_saved_ = false;
  user_regs_struct registers_{};
  Clock::time_point stopped_since_{};
};

}  // namespace godwit
