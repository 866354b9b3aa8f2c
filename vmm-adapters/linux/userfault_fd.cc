// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/userfault_fd.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <span>

#include "vmm-adapters/linux/pagemap_uapi.h"

namespace godwit {
namespace {

struct NamedFeature {
  uint64_t bit;
  const char* name;
  const char* since;
};

constexpr NamedFeature kWriteTracking[] = {
    {UFFD_FEATURE_PAGEFAULT_FLAG_WP, "write protection", "5.7"},
    {UFFD_FEATURE_WP_HUGETLBFS_SHMEM, "write protection of shared memory", "5.19"},
    {uapi::kUserfaultfdFeatureWriteProtectUnpopulated, "write protection of unpopulated pages",
     "6.4"},
    {uapi::kUserfaultfdFeatureWriteProtectAsync, "asynchronous write protection", "6.7"},
};

constexpr NamedFeature kPageFaults[] = {
    {UFFD_FEATURE_THREAD_ID, "faults that say whose they are", "4.14"},
    {UFFD_FEATURE_MISSING_HUGETLBFS, "faults on missing huge pages", "4.11"},
    {UFFD_FEATURE_MISSING_SHMEM, "faults on missing pages of shared memory", "4.11"},
    {UFFD_FEATURE_MINOR_HUGETLBFS, "faults on present huge pages", "5.13"},
    {UFFD_FEATURE_MINOR_SHMEM, "faults on present pages of shared memory", "5.14"},
};

Status enable(int userfaultfd, std::span<const NamedFeature> needed) {
  uffdio_api api{};
  api.api = UFFD_API;
  for (const NamedFeature& feature : needed) api.features |= feature.bit;
  if (ioctl(userfaultfd, UFFDIO_API, &api) == 0) return {};
  if (errno != EINVAL) return fail_errno(errno, "UFFDIO_API");
  // The kernel answers an unknown feature with EINVAL and all zeroes. A descriptor that failed may
  // be asked again: ask for nothing, to learn what there is.
  api = {};
  api.api = UFFD_API;
  if (ioctl(userfaultfd, UFFDIO_API, &api) != 0) {
    return fail_errno(errno, "UFFDIO_API: the descriptor was set up before");
  }
  for (const NamedFeature& feature : needed) {
    if ((api.features & feature.bit) == 0) {
      return fail(Errc::kRefused, "this kernel has no {} (userfaultfd); Linux {} or later has it",
                  feature.name, feature.since);
    }
  }
  return fail(Errc::kRefused, "this kernel refuses the userfaultfd features that are needed");
}

}  // namespace

Result<UniqueFd> open_userfaultfd() {
  constexpr int kFlags = O_CLOEXEC | O_NONBLOCK;
  UniqueFd fd(static_cast<int>(syscall(SYS_userfaultfd, kFlags)));
  if (fd.valid()) return fd;
  if (errno == ENOSYS) {
    return fail_errno(ENOSYS, "userfaultfd: this kernel is built without CONFIG_USERFAULTFD");
  }
  UniqueFd device(open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (device.valid()) {
    fd.reset(ioctl(device.get(), USERFAULTFD_IOC_NEW, kFlags));
    if (fd.valid()) return fd;
  }
  fd.reset(static_cast<int>(syscall(SYS_userfaultfd, kFlags | UFFD_USER_MODE_ONLY)));
  if (fd.valid()) return fd;
  return fail_errno(errno, "userfaultfd: not permitted; run as root or allow /dev/userfaultfd");
}

Status enable_write_tracking(int userfaultfd) {
  return enable(userfaultfd, kWriteTracking);
}

Status enable_page_faults(int userfaultfd) {
  return enable(userfaultfd, kPageFaults);
}

}  // namespace godwit
