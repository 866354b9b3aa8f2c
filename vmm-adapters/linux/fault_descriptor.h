// SPDX-License-Identifier: Apache-2.0
//
// Page faults on shared memory, through a userfaultfd of the process that maps it (the owner):
// every operation of PageFaults but how the descriptor comes about and how it is left.
//
// The memory is registered for both kinds of fault. Minor: the page exists, and is not in the
// owner's page tables; UFFDIO_CONTINUE puts it there. Missing: there is no page; it is made through
// our own mapping of the same memory, which works for pages of every size, and is then a minor one.
//
// The kernel acts on the owner's address space, whoever holds the descriptor.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "engine/memory/guest_memory.h"
#include "engine/page_faults.h"

namespace godwit {

// Thread: any number at once, but for register_memory() and unregister_memory().
class FaultDescriptor {
 public:
  // `userfaultfd` is nonblocking and has its features (enable_page_faults). `vcpu_threads` are the
  // owner's threads that are vCPUs, by the vCPU's number, as far as it is known.
  // Requires: every block has an owner_address.
  // Ownership: the memory stays the caller's and outlives this.
  FaultDescriptor(UniqueFd userfaultfd, const GuestMemory& memory,
                  std::vector<pid_t> vcpu_threads = {});

  int fd() const { return userfaultfd_.get(); }

  // From here on a page that is not in the owner's page tables is a fault. Idempotent.
  // Errors: kGuest when another userfaultfd has the memory; kRefused when it is of a kind that the
  // kernel cannot do it for.
  Status register_memory() const;

  // Lets everybody go on. An owner that is gone is no error.
  Status unregister_memory() const;

  Result<size_t> read(std::span<PageFault> faults) const;
  Status install(uint32_t block, PageRun pages) const;
  Status install_zeroes(uint32_t block, PageRun pages) const;
  Status wake(uint32_t block, PageRun pages) const;
  Status wake_all() const;

 private:
  struct Range {
    uint64_t start;
    uint64_t size_bytes;
  };
  Range range_of(uint32_t block, PageRun pages) const;
  Status wake_range(Range range) const;
  int32_t vcpu_of(pid_t thread) const;

  UniqueFd userfaultfd_;
  const GuestMemory& memory_;
  std::vector<pid_t> vcpu_threads_;
};

}  // namespace godwit
