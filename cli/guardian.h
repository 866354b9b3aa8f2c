// SPDX-License-Identifier: Apache-2.0
//
// A second, tiny process beside an agent, for the one case in which the agent cannot keep its
// promise itself: it was killed with SIGKILL (or by the kernel, for want of memory) while the guest
// stood still. The guardian notices at once, reads the session's file and does what dead_agent.h
// says.
//
// The two share a socket. The agent's messages on it are the session to watch over, and a goodbye;
// an end without a goodbye is a death. The guardian has none of the agent's descriptors but
// those that it is given to keep open, leaves with the agent, and its own death changes nothing.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "cli/dead_agent.h"
#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "vmm-adapters/qemu/options.h"

namespace godwit::cli {

// As ResumeGuest, with how the stream is broken that was to be kept until it may be.
using ResumeKeptGuest =
    std::function<Status(const std::string& guest, const std::function<void()>& break_stream)>;

class Guardian {
 public:
  // Forks. Call before any thread exists. `resume_guest` runs in the other process.
  static Result<std::unique_ptr<Guardian>> start(SessionRole role,
                                                 const ResumeKeptGuest& resume_guest);

  // Says goodbye and waits until the guardian is gone.
  ~Guardian();
  Guardian(const Guardian&) = delete;
  Guardian& operator=(const Guardian&) = delete;

  // Call once the session's folder exists.
  void watch_over(const std::string& session);

  // Keeps this socket open, too, and reads what comes by it while the guest is being resumed. One
  // until it may break, another one takes its place; and any number until the guest is resumed.
  void keep_open(int socket, KeptUntil until);

  pid_t pid() const { return pid_; }

 private:
  Guardian(UniqueFd socket, pid_t pid);

  UniqueFd socket_;
  pid_t pid_;
};

}  // namespace godwit::cli
