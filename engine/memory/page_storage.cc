// SPDX-License-Identifier: Apache-2.0
#include "engine/memory/page_storage.h"

#include <sys/mman.h>

#include <cerrno>

namespace godwit {

Status ensure_storage(std::span<std::byte> bytes) {
  while (::madvise(bytes.data(), bytes.size(), MADV_POPULATE_READ) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    if (errno == EINVAL) return {};
    if (errno == EFAULT || errno == ENOMEM) return tl::unexpected<Error>(no_storage_for_page());
    return fail_errno(errno, "populate guest memory");
  }
  return {};
}

Error no_storage_for_page() {
  return fail(Errc::kSystem,
              "there is no space for a page of guest memory: the tmpfs behind it is full, or a "
              "memory limit is reached")
      .value();
}

}  // namespace godwit
