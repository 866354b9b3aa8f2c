// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/synthetic/synthetic_page_faults.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>

#include "vmm-adapters/linux/userfault_fd.h"

namespace godwit {
namespace {

Result<UniqueFd> duplicate(int fd) {
  UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return fail_errno(errno, "duplicate a userfaultfd");
  return copy;
}

Status drop_page_tables(const GuestMemory& memory) {
  for (const GuestBlock& block : memory) {
    // Shared memory: the pages stay.
    if (madvise(block.memory.data(), block.memory.size(), MADV_DONTNEED) != 0) {
      return fail_errno(errno, "drop the page-table entries of RAM block '{}'", block.name);
    }
  }
  return {};
}

}  // namespace

Status SyntheticPageFaults::arm() {
  RETURN_IF_ERROR(machine_.attempt(SyntheticOperation::kArmPageFaults));
  if (machine_.page_faults() != nullptr) {
    return fail(Errc::kGuest, "the machine's page faults are armed already");
  }
  // One for user-mode faults alone will do: no system call is made on this machine's memory.
  ASSIGN_OR_RETURN(UniqueFd userfaultfd, open_userfaultfd());
  RETURN_IF_ERROR(enable_page_faults(userfaultfd.get()));
  ASSIGN_OR_RETURN(UniqueFd kept, duplicate(userfaultfd.get()));
  FaultDescriptor faults(std::move(userfaultfd), machine_.memory().agent());
  RETURN_IF_ERROR(faults.register_memory());  // undone by closing, should it fail
  RETURN_IF_ERROR(drop_page_tables(machine_.memory().guest()));
  machine_.keep_page_faults(std::move(kept));
  faults_.emplace(std::move(faults));
  return {};
}

Status SyntheticPageFaults::adopt() {
  if (machine_.page_faults() == nullptr) {
    return fail(Errc::kRefused, "the machine's page faults are not armed");
  }
  ASSIGN_OR_RETURN(UniqueFd userfaultfd, duplicate(machine_.page_faults()->fd()));
  return faults_.emplace(std::move(userfaultfd), machine_.memory().agent()).wake_all();
}

Status SyntheticPageFaults::disarm() {
  if (!faults_) return {};
  RETURN_IF_ERROR(faults_->unregister_memory());
  faults_.reset();
  machine_.forget_page_faults();
  return {};
}

}  // namespace godwit
