// SPDX-License-Identifier: Apache-2.0
//
// The page faults of another process (the VMM) on memory that is mapped here as well.
//
// Arming takes a userfaultfd of the VMM whose own copy stays open there, registers the memory with
// it, and then has the VMM itself drop its page-table entries (madvise in one of its threads). In
// that order: a page touched in between would otherwise stay mapped. It takes about 25 ms/GiB of
// populated 4 KiB pages, during which the thread, usually the main one, is in the kernel. A VMM
// that waits for its guest does not miss it.
//
// Armed, the VMM's threads may be waiting for pages, its main thread among them. So nothing here
// but arm() and the end of disarm() needs a thread of it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/base/time.h"
#include "engine/page_faults.h"
#include "vmm-adapters/linux/fault_descriptor.h"

namespace godwit {

class ForeignPageFaults final : public PageFaults {
 public:
  // For a VMM without the right to make a userfaultfd that stops the kernel too (CAP_SYS_PTRACE): a
  // descriptor of /dev/userfaultfd, opened here, that it is given for a moment.
  struct DeviceLoan {
    std::function<Result<int>(int device)> lend;  // returns its number in the VMM
    std::function<void()> take_back;
  };

  // `vcpu_threads` as FaultDescriptor's.
  // Requires: all blocks have one owner, and their addresses in it.
  // Ownership: the memory stays the caller's and outlives this.
  explicit ForeignPageFaults(const GuestMemory& memory, DeviceLoan device_loan = {},
                             std::vector<pid_t> vcpu_threads = {});

  // Takes over what an earlier agent armed and left behind, and has reported anew who waits. The
  // VMM itself has no part in it. Errors: kRefused when the memory is not armed: whoever touched a
  // page meanwhile has read what was there; kGuest when the VMM is gone.
  static Result<std::unique_ptr<ForeignPageFaults>> adopt(const GuestMemory& memory);

  // What an agent that died while it disarmed has left of that. Requires: every page has its
  // content.
  static Status disarm_left_over(const GuestMemory& memory);

  Status arm() override;
  int fd() const override { return faults_->fd(); }
  Result<size_t> read(std::span<PageFault> faults) override { return faults_->read(faults); }
  Status install(uint32_t block, PageRun pages) override { return faults_->install(block, pages); }
  Status install_zeroes(uint32_t block, PageRun pages) override {
    return faults_->install_zeroes(block, pages);
  }
  Status wake(uint32_t block, PageRun pages) override { return faults_->wake(block, pages); }
  // Errors: kTimeout when no thread of the VMM was found to close its copy, which serves nobody any
  // more.
  Status disarm() override;

 private:
  Status open_descriptor();
  Status open_with_device();
  Status no_right() const;
  Status register_memory();
  Status drop_page_tables() const;
  Status take_over();

  const GuestMemory& memory_;
  const DeviceLoan device_loan_;
  const std::vector<pid_t> vcpu_threads_;
  const pid_t owner_;
  int number_ = -1;                        // of the VMM's own copy
  std::optional<FaultDescriptor> faults_;  // while armed
};

}  // namespace godwit
