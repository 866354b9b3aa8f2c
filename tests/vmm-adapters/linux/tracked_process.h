// SPDX-License-Identifier: Apache-2.0
//
// A child process with an event loop, like a VMM's: it waits in ppoll and, when told to, writes
// pages of a block that it shares with the test. It counts what ppoll should never have returned.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>

#include "engine/base/unique_fd.h"
#include "tests/vmm-adapters/linux/test_memory.h"

namespace godwit::test {

class TrackedProcess {
 public:
  explicit TrackedProcess(const TestMemory& memory);
  ~TrackedProcess();
  TrackedProcess(const TrackedProcess&) = delete;
  TrackedProcess& operator=(const TrackedProcess&) = delete;

  pid_t pid() const { return pid_; }

  // The child writes one byte of the page; returns when it has.
  void write_page(uint64_t page) const;

  // Turns of the child's loop so far, SIGUSR1 it got, and answers of ppoll that are wrong.
  uint64_t turns() const { return shared().turns; }
  uint64_t signals() const { return shared().signals; }
  uint64_t wrong_answers() const { return shared().wrong_answers; }

  bool alive() const;
  uint64_t descriptor_count() const;

 private:
  struct Shared {
    std::atomic<uint64_t> turns;
    std::atomic<uint64_t> signals;
    std::atomic<uint64_t> wrong_answers;
  };
  Shared& shared() const { return *static_cast<Shared*>(shared_address_); }
  [[noreturn]] void run_child(const TestMemory& memory) const;

  void* shared_address_;
  UniqueFd commands_;  // a page number each
  UniqueFd answers_;
  UniqueFd child_commands_;
  UniqueFd child_answers_;
  pid_t pid_ = -1;
};

// Runs a function in a child process of its own, which then waits to be killed.
class ForkedAgent {
 public:
  explicit ForkedAgent(const std::function<void()>& work);
  ~ForkedAgent() { kill_now(); }
  ForkedAgent(const ForkedAgent&) = delete;
  ForkedAgent& operator=(const ForkedAgent&) = delete;

  void wait_until_done() const;
  void kill_now();

 private:
  UniqueFd done_;
  pid_t pid_ = -1;
};

}  // namespace godwit::test
