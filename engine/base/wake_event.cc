// SPDX-License-Identifier: Apache-2.0
#include "engine/base/wake_event.h"

#include <sys/eventfd.h>

#include <cerrno>

namespace godwit {

Result<WakeEvent> WakeEvent::make() {
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.valid()) return fail_errno(errno, "make an eventfd");
  return WakeEvent(std::move(fd));
}

void WakeEvent::raise() const {
  // Fails only when the counter is full, and then it is readable already.
  ::eventfd_write(fd_.get(), 1);
}

}  // namespace godwit
