// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/own_page_faults.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "engine/base/check.h"
#include "vmm-adapters/linux/userfault_fd.h"

namespace godwit {
namespace {

GuestBlock owned_by_view(GuestBlock block, const SharedMapping& view) {
  block.owner = ::getpid();
  block.owner_address = reinterpret_cast<uint64_t>(view.bytes().data());
  return block;
}

}  // namespace

Result<std::unique_ptr<OwnPageFaults>> OwnPageFaults::open(const GuestMemory& memory) {
  CHECK(memory.size() == 1 && memory[0].fd >= 0);
  ASSIGN_OR_RETURN(SharedMapping view, SharedMapping::map(memory[0].fd, {memory[0].fd_offset_bytes,
                                                                         memory[0].size_bytes()}));
  return std::unique_ptr<OwnPageFaults>(new OwnPageFaults(memory[0], std::move(view)));
}

OwnPageFaults::OwnPageFaults(GuestBlock block, SharedMapping view)
    : view_(std::move(view)), memory_({owned_by_view(std::move(block), view_)}) {}

Status OwnPageFaults::arm() {
  // One for user-mode faults alone will do: no system call is made on this memory.
  ASSIGN_OR_RETURN(UniqueFd userfaultfd, open_userfaultfd());
  RETURN_IF_ERROR(enable_page_faults(userfaultfd.get()));
  FaultDescriptor faults(std::move(userfaultfd), memory_);
  RETURN_IF_ERROR(faults.register_memory());  // undone by closing, should it fail
  if (::madvise(view_.bytes().data(), view_.bytes().size(), MADV_DONTNEED) != 0)
    return fail_errno(errno, "drop the page-table entries of a view of memory");
  faults_.emplace(std::move(faults));
  return {};
}

Status OwnPageFaults::disarm() {
  if (!faults_) return {};
  return faults_->unregister_memory();
}

}  // namespace godwit
