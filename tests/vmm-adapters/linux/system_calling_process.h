// SPDX-License-Identifier: Apache-2.0
//
// A child process that plays a VMM: an event loop and, when told to, system calls that read or
// write its memory. It is the kernel that touches the memory then, on the process's behalf.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "engine/base/unique_fd.h"
#include "tests/vmm-adapters/linux/test_memory.h"

namespace godwit::test {

// What the process does with a page. Reads put kTransferBytes of kFileByte into its beginning;
// writes take as many from there to the end of the file.
enum class Operation : uint8_t {
  kLoad = 1,           // no system call at all
  kRead = 2,           // the kernel copies
  kDirectRead = 3,     // O_DIRECT: a device's DMA
  kRingRead = 4,       // io_uring, from one of the kernel's own threads, O_DIRECT
  kRingFixedRead = 5,  // io_uring, into a buffer that was pinned beforehand
  kDirectWrite = 6,    // O_DIRECT, from memory
  kSend = 7,           // the kernel copies out of memory
};

constexpr uint64_t kTransferBytes = 512;
constexpr int kFileByte = 0x5a;

class SystemCallingProcess {
 public:
  // The file is made in `folder`, which is on a disk, without a name. `memory` is mapped in the
  // process where it is here.
  SystemCallingProcess(const TestMemory& memory, const std::string& folder);
  ~SystemCallingProcess();
  SystemCallingProcess(const SystemCallingProcess&) = delete;
  SystemCallingProcess& operator=(const SystemCallingProcess&) = delete;

  pid_t pid() const { return pid_; }

  // Starts an operation.
  void begin(Operation operation, uint64_t page) const;
  // Waits for its end. Returns what the system call did: bytes or a negative errno; nothing when it
  // does not end.
  std::optional<int64_t> result() const;

  // What kDirectWrite and kSend wrote last.
  std::string written() const;

 private:
  struct Command {
    Operation operation;
    uint64_t page;
  };
  [[noreturn]] void run_child(const TestMemory& memory) const;
  int64_t run(const Command& command, std::byte* page) const;

  UniqueFd buffered_;
  UniqueFd direct_;
  UniqueFd commands_;
  UniqueFd answers_;
  UniqueFd child_commands_;
  UniqueFd child_answers_;
  pid_t pid_ = -1;
};

}  // namespace godwit::test
