// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/fault_descriptor.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "engine/base/check.h"
#include "engine/base/units.h"

namespace godwit {
namespace {

constexpr size_t kMessagesAtOnce = 64;

std::optional<PageFault> translate(const GuestMemory& memory, const uffd_msg& message) {
  if (message.event != UFFD_EVENT_PAGEFAULT) return std::nullopt;
  const uint64_t address = message.arg.pagefault.address;
  for (size_t block = 0; block < memory.size(); ++block) {
    const uint64_t start = memory[block].owner_address;
    if (address < start || address - start >= memory[block].size_bytes()) continue;
    const bool minor = (message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR) != 0;
    return PageFault{static_cast<uint32_t>(block),
                     (address - start) / memory[block].page_size_bytes,
                     minor ? FaultKind::kPresent : FaultKind::kHole, kNoVcpu};
  }
  return std::nullopt;
}

}  // namespace

FaultDescriptor::FaultDescriptor(UniqueFd userfaultfd, const GuestMemory& memory,
                                 std::vector<pid_t> vcpu_threads)
    : userfaultfd_(std::move(userfaultfd)),
      memory_(memory),
      vcpu_threads_(std::move(vcpu_threads)) {
  for (const GuestBlock& block : memory_) CHECK(block.owner_address != 0);
}

Status FaultDescriptor::register_memory() const {
  for (const GuestBlock& block : memory_) {
    uffdio_register argument{};
    argument.range = {block.owner_address, block.size_bytes()};
    argument.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR;
    if (ioctl(fd(), UFFDIO_REGISTER, &argument) != 0) {
      if (errno == EBUSY) {
        return fail(Errc::kGuest,
                    "RAM block '{}' already belongs to another userfaultfd: a snapshot, a "
                    "post-copy or another agent is under way in the VMM",
                    block.name);
      }
      if (errno == EINVAL) {
        return fail(Errc::kRefused,
                    "no page faults to be had on RAM block '{}': it is not shared memory on tmpfs "
                    "or hugetlbfs",
                    block.name);
      }
      return fail_errno(errno, "UFFDIO_REGISTER for RAM block '{}'", block.name);
    }
    if ((argument.ioctls & (uint64_t{1} << _UFFDIO_CONTINUE)) == 0) {
      return fail(Errc::kRefused, "this kernel cannot install pages of RAM block '{}'", block.name);
    }
  }
  return {};
}

Status FaultDescriptor::unregister_memory() const {
  Status first_failure;
  for (const GuestBlock& block : memory_) {
    // The kernel wakes those who wait there.
    uffdio_range argument{block.owner_address, block.size_bytes()};
    if (ioctl(fd(), UFFDIO_UNREGISTER, &argument) == 0) continue;
    const bool gone = errno == ESRCH || errno == ENOMEM;
    if (!gone && first_failure) {
      first_failure = fail_errno(errno, "UFFDIO_UNREGISTER for RAM block '{}'", block.name);
    }
  }
  return first_failure;
}

Result<size_t> FaultDescriptor::read(std::span<PageFault> faults) const {
  std::array<uffd_msg, kMessagesAtOnce> messages;
  size_t count = 0;
  while (count < faults.size()) {
    const size_t wanted = std::min(messages.size(), faults.size() - count);
    const ssize_t size = ::read(fd(), messages.data(), wanted * sizeof(uffd_msg));
    if (size < 0 && errno == EINTR) continue;
    // An error will be there again next time; faults that were read would not.
    if (size < 0 && (errno == EAGAIN || count > 0)) return count;
    if (size < 0) return fail_errno(errno, "read page faults");
    const size_t messages_read = static_cast<size_t>(size) / sizeof(uffd_msg);
    for (const uffd_msg& message : std::span(messages).first(messages_read)) {
      std::optional<PageFault> fault = translate(memory_, message);
      if (!fault) continue;
      fault->vcpu = vcpu_of(static_cast<pid_t>(message.arg.pagefault.feat.ptid));
      faults[count++] = *fault;
    }
    if (messages_read < wanted) return count;  // there are no more
  }
  return count;
}

int32_t FaultDescriptor::vcpu_of(pid_t thread) const {
  if (thread == 0) return kNoVcpu;  // whoever set the descriptor up did not ask for it
  const auto found = std::ranges::find(vcpu_threads_, thread);
  return found == vcpu_threads_.end() ? kNoVcpu
                                      : static_cast<int32_t>(found - vcpu_threads_.begin());
}

Status FaultDescriptor::install(uint32_t block, PageRun pages) const {
  const Range whole = range_of(block, pages);
  const uint64_t end = whole.start + whole.size_bytes;
  bool skipped = false;
  for (uint64_t at = whole.start; at < end;) {
    uffdio_continue argument{};
    argument.range = {at, end - at};
    if (ioctl(fd(), UFFDIO_CONTINUE, &argument) == 0) break;
    if (argument.mapped > 0) {  // so far; what stopped it comes again, by itself
      at += static_cast<uint64_t>(argument.mapped);
      continue;
    }
    if (errno == EAGAIN) continue;  // the owner's mappings are just changing
    if (errno == ESRCH) return fail(Errc::kGuest, "the VMM is gone, and its guest with it");
    if (errno != EEXIST && errno != EFAULT) {
      return fail_errno(errno, "UFFDIO_CONTINUE for {} KiB of RAM block '{}' at {:#x}",
                        (end - at) / kKiB, memory_[block].name, at - whole.start);
    }
    // Installed already (EEXIST), or a hole (EFAULT).
    skipped = true;
    at += memory_[block].page_size_bytes;
  }
  // Who waits for a page that became a hole has to fault on it again, as on a hole. And nobody may
  // be left waiting for one that somebody else has installed.
  return skipped ? wake_range(whole) : Status();
}

Status FaultDescriptor::install_zeroes(uint32_t block, PageRun pages) const {
  const uint64_t page_bytes = memory_[block].page_size_bytes;
  std::span<std::byte> bytes =
      memory_[block].memory.subspan(pages.first_page * page_bytes, pages.page_count * page_bytes);
  // Makes pages where there are none, and leaves the content of those alone that came first.
  while (madvise(bytes.data(), bytes.size(), MADV_POPULATE_WRITE) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    return fail_errno(errno, "make {} pages of {} KiB in RAM block '{}'", pages.page_count,
                      page_bytes / kKiB, memory_[block].name);
  }
  return install(block, pages);
}

Status FaultDescriptor::wake(uint32_t block, PageRun pages) const {
  return wake_range(range_of(block, pages));
}

Status FaultDescriptor::wake_all() const {
  for (const GuestBlock& block : memory_) {
    RETURN_IF_ERROR(wake_range({block.owner_address, block.size_bytes()}));
  }
  return {};
}

FaultDescriptor::Range FaultDescriptor::range_of(uint32_t block, PageRun pages) const {
  CHECK(block < memory_.size());
  CHECK(pages.page_count > 0);
  CHECK(pages.first_page + pages.page_count <= memory_[block].page_count());
  const uint64_t page_bytes = memory_[block].page_size_bytes;
  return {memory_[block].owner_address + pages.first_page * page_bytes,
          pages.page_count * page_bytes};
}

Status FaultDescriptor::wake_range(Range range) const {
  uffdio_range argument{range.start, range.size_bytes};
  if (ioctl(fd(), UFFDIO_WAKE, &argument) == 0) return {};
  return fail_errno(errno, "UFFDIO_WAKE");
}

}  // namespace godwit
