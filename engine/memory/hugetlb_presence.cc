// SPDX-License-Identifier: Apache-2.0
//
// See hugetlb_presence.h. One ioctl walks a whole run of present pages; a hole ends it.
#include "engine/memory/hugetlb_presence.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "engine/base/unique_fd.h"

namespace godwit {
namespace {

// A mapping that touches and reserves nothing.
class ProbeMapping {
 public:
  explicit ProbeMapping(const GuestBlock& block)
      : size_bytes_(block.size_bytes()),
        start_(::mmap(nullptr, size_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                      block.fd, static_cast<off_t>(block.fd_offset_bytes))) {}
  ~ProbeMapping() {
    if (valid()) ::munmap(start_, size_bytes_);
  }
  ProbeMapping(const ProbeMapping&) = delete;
  ProbeMapping& operator=(const ProbeMapping&) = delete;

  bool valid() const { return start_ != MAP_FAILED; }
  // SAFETY: only as a number for the kernel; never dereferenced.
  uint64_t address() const { return reinterpret_cast<uint64_t>(start_); }

 private:
  size_t size_bytes_;
  void* start_;
};

// A userfaultfd that answers for minor faults on `mapping`, or an invalid one.
UniqueFd open_minor_userfaultfd(const ProbeMapping& mapping, uint64_t size_bytes) {
  UniqueFd fd(
      static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
  if (!fd.valid()) return fd;

  uffdio_api api = {};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_MINOR_HUGETLBFS;
  uffdio_register registration = {};
  registration.range = {mapping.address(), size_bytes};
  registration.mode = UFFDIO_REGISTER_MODE_MINOR;
  if (::ioctl(fd.get(), UFFDIO_API, &api) != 0 ||
      ::ioctl(fd.get(), UFFDIO_REGISTER, &registration) != 0) {
    fd.reset();
  }
  return fd;
}

}  // namespace

Status find_present_huge_pages(const GuestBlock& block, PageBitmap& present) {
  struct stat file = {};
  if (::fstat(block.fd, &file) != 0)
    return fail_errno(errno, "fstat of RAM block '{}'", block.name);
  if (file.st_blocks == 0) return {};  // never touched

  const ProbeMapping mapping(block);
  UniqueFd userfaultfd;
  if (mapping.valid()) userfaultfd = open_minor_userfaultfd(mapping, block.size_bytes());
  if (!userfaultfd.valid()) {
    present.set_all();
    return {};
  }

  for (uint64_t page = 0; page < block.page_count();) {
    uffdio_continue probe = {};
    probe.range = {mapping.address() + page * block.page_size_bytes,
                   (block.page_count() - page) * block.page_size_bytes};
    probe.mode = UFFDIO_CONTINUE_MODE_DONTWAKE;
    const int outcome = ::ioctl(userfaultfd.get(), UFFDIO_CONTINUE, &probe);
    const int os_errno = outcome == 0 ? 0 : errno;
    if (probe.mapped > 0) {
      const auto mapped_pages = static_cast<uint64_t>(probe.mapped) / block.page_size_bytes;
      present.set_run({page, mapped_pages});
      page += mapped_pages;
      continue;
    }
    // EFAULT: no page there. EAGAIN: the address space is changing, ask again.
    if (os_errno == EFAULT) {
      page += 1;
    } else if (os_errno != EAGAIN) {
      return fail_errno(os_errno, "UFFDIO_CONTINUE in RAM block '{}'", block.name);
    }
  }
  return {};
}

}  // namespace godwit
