// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/foreign_page_faults.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/units.h"
#include "engine/session/process_identity.h"
#include "vmm-adapters/linux/foreign_userfaultfd.h"
#include "vmm-adapters/linux/process_memory_map.h"
#include "vmm-adapters/linux/userfault_fd.h"

namespace godwit {
namespace {

// For a thread of the VMM to be found waiting for events.
constexpr auto kAttachTimeout = seconds(5);

// One system call in the VMM drops so much: far less than what a StoppedThread waits for.
constexpr uint64_t kDropBytes = 8 * kGiB;

constexpr const char* kRightAdvice =
    "start the VMM as root or with CAP_SYS_PTRACE, set vm.unprivileged_userfaultfd=1, or let this "
    "process open /dev/userfaultfd";

bool is_gone(pid_t pid) {
  const Result<ProcessIdentity> process = identify_process(pid);
  return !process || !is_running(*process);
}

// Whether the mapping at `address` is registered for minor faults, as the kernel says it ("ui").
Result<bool> is_registered(pid_t pid, uint64_t address) {
  const std::string path = fmt::format("/proc/{}/smaps", pid);
  std::ifstream file(path);
  if (!file) return fail_errno(errno, "open {}", path);
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (Result<MemoryMapping> mapping = parse_mapping(line)) {
      inside = mapping->range.start <= address && address < mapping->range.end;
    } else if (inside && line.starts_with("VmFlags:")) {
      return (line + " ").find(" ui ") != std::string::npos;
    }
  }
  return fail(Errc::kGuest, "process {} maps nothing at {:#x}", pid, address);
}

}  // namespace

ForeignPageFaults::ForeignPageFaults(const GuestMemory& memory, DeviceLoan device_loan,
                                     std::vector<pid_t> vcpu_threads)
    : memory_(memory),
      device_loan_(std::move(device_loan)),
      vcpu_threads_(std::move(vcpu_threads)),
      owner_(memory.empty() ? 0 : memory[0].owner) {
  CHECK(owner_ > 0);
  for (const GuestBlock& block : memory_) CHECK(block.owner == owner_);
}

Status ForeignPageFaults::arm() {
  if (faults_) return fail(Errc::kGuest, "page faults are armed already");
  Status armed = open_descriptor();
  if (armed) armed = enable_page_faults(faults_->fd());
  if (armed) armed = register_memory();
  if (armed) armed = drop_page_tables();
  if (!armed && faults_) static_cast<void>(disarm());
  return armed;
}

Status ForeignPageFaults::open_descriptor() {
  Result<KeptUserfaultfd> opened =
      open_kept_userfaultfd_of(owner_, std::nullopt, deadline_in(kAttachTimeout));
  if (!opened && opened.error().os_errno == EPERM) return open_with_device();
  RETURN_IF_ERROR(opened);
  number_ = opened->number;
  faults_.emplace(std::move(opened->fd), memory_, vcpu_threads_);
  return {};
}

Status ForeignPageFaults::no_right() const {
  return fail(Errc::kRefused,
              "process {} may not make a userfaultfd that stops the kernel as well: {}", owner_,
              kRightAdvice);
}

Status ForeignPageFaults::open_with_device() {
  UniqueFd device(open(kUserfaultfdDevice.data(), O_RDWR | O_CLOEXEC));
  if (!device.valid() || !device_loan_.lend) return no_right();
  ASSIGN_OR_RETURN(const int device_number, device_loan_.lend(device.get()));
  Result<KeptUserfaultfd> opened =
      open_kept_userfaultfd_of(owner_, device_number, deadline_in(kAttachTimeout));
  device_loan_.take_back();
  if (!opened && opened.error().os_errno == EPERM) return no_right();
  RETURN_IF_ERROR(opened);
  number_ = opened->number;
  faults_.emplace(std::move(opened->fd), memory_, vcpu_threads_);
  return {};
}

// An agent that died before the switchover may have left the memory armed.
Status ForeignPageFaults::register_memory() {
  Status registered = faults_->register_memory();
  if (registered || registered.error().code != Errc::kGuest) return registered;
  Result<std::unique_ptr<ForeignPageFaults>> left_behind = adopt(memory_);
  if (!left_behind) return registered;
  RETURN_IF_ERROR((*left_behind)->disarm());
  return faults_->register_memory();
}

Status ForeignPageFaults::drop_page_tables() const {
  for (const GuestBlock& block : memory_) {
    const uint64_t end = block.owner_address + block.size_bytes();
    for (uint64_t at = block.owner_address; at < end; at += kDropBytes) {
      const uint64_t size = std::min(kDropBytes, end - at);
      RETURN_IF_ERROR(run_in_process(owner_, {SYS_madvise, {at, size, MADV_DONTNEED}},
                                     deadline_in(kAttachTimeout)));
    }
  }
  return {};
}

Result<std::unique_ptr<ForeignPageFaults>> ForeignPageFaults::adopt(const GuestMemory& memory) {
  auto faults = std::make_unique<ForeignPageFaults>(memory);
  RETURN_IF_ERROR(faults->take_over());
  return faults;
}

Status ForeignPageFaults::take_over() {
  if (is_gone(owner_)) return fail(Errc::kGuest, "the VMM, process {}, is gone", owner_);
  for (const GuestBlock& block : memory_) {
    ASSIGN_OR_RETURN(const bool registered, is_registered(owner_, block.owner_address));
    if (!registered) {
      return fail(Errc::kRefused, "RAM block '{}' in process {} is not armed for page faults",
                  block.name, owner_);
    }
  }
  ASSIGN_OR_RETURN(const std::vector<int> candidates, find_descriptors(owner_, kUserfaultfdName));
  for (const int candidate : candidates) {
    ASSIGN_OR_RETURN(UniqueFd taken, take_descriptor(owner_, candidate));
    FaultDescriptor faults(std::move(taken), memory_);
    // Memory that is registered can be registered again only with the descriptor that has it.
    if (!faults.register_memory()) continue;
    RETURN_IF_ERROR(faults.wake_all());
    number_ = candidate;
    faults_.emplace(std::move(faults));
    return {};
  }
  return fail(Errc::kRefused, "process {} does not hold the userfaultfd of its memory", owner_);
}

Status ForeignPageFaults::disarm_left_over(const GuestMemory& memory) {
  const pid_t owner = memory.front().owner;
  ASSIGN_OR_RETURN(const std::vector<int> left, find_descriptors(owner, kUserfaultfdName));
  for (const int number : left) {
    ASSIGN_OR_RETURN(UniqueFd taken, take_descriptor(owner, number));
    // Those blocks that are not registered any more say so, which is no matter.
    (void)FaultDescriptor(std::move(taken), memory).unregister_memory();
    RETURN_IF_ERROR(run_in_process(owner, {SYS_close, {static_cast<uint64_t>(number)}},
                                   deadline_in(kAttachTimeout))
                        .map([](int64_t) {}));
  }
  return {};
}

Status ForeignPageFaults::disarm() {
  if (!faults_) return {};
  RETURN_IF_ERROR(faults_->unregister_memory());
  faults_.reset();
  const int number = std::exchange(number_, -1);
  if (is_gone(owner_)) return {};
  // Those of its threads that waited for pages go on, and one of them comes to wait for events.
  Result<int64_t> closed = run_in_process(owner_, {SYS_close, {static_cast<uint64_t>(number)}},
                                          deadline_in(kAttachTimeout));
  return closed.map([](int64_t) {});
}

}  // namespace godwit
