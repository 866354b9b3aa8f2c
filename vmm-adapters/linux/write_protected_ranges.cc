// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/write_protected_ranges.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include <cerrno>

namespace godwit {

Status register_write_protection(int userfaultfd, AddressRange range) {
  uffdio_register argument{};
  argument.range = {range.start, range.end - range.start};
  argument.mode = UFFDIO_REGISTER_MODE_WP;
  if (ioctl(userfaultfd, UFFDIO_REGISTER, &argument) == 0) return {};
  if (errno == EBUSY) {
    return fail(Errc::kGuest,
                "memory at {:#x} already belongs to another userfaultfd: a snapshot, a "
                "post-copy or another tracker is under way in the VMM",
                range.start);
  }
  return fail_errno(errno, "UFFDIO_REGISTER [{:#x}, {:#x})", range.start, range.end);
}

Status unregister_write_protection(int userfaultfd, AddressRange range) {
  uffdio_range argument{range.start, range.end - range.start};
  if (ioctl(userfaultfd, UFFDIO_UNREGISTER, &argument) == 0) return {};
  return fail_errno(errno, "UFFDIO_UNREGISTER [{:#x}, {:#x})", range.start, range.end);
}

}  // namespace godwit
