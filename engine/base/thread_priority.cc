// SPDX-License-Identifier: Apache-2.0
#include "engine/base/thread_priority.h"

#include <sys/resource.h>

namespace godwit {

void put_thread_first() {
  constexpr int kNice = -10;
  // To Linux 0 is the calling thread, not its process.
  static_cast<void>(::setpriority(PRIO_PROCESS, 0, kNice));
}

}  // namespace godwit
