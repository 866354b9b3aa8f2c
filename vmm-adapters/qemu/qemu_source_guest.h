// SPDX-License-Identifier: Apache-2.0
//
// A guest under unmodified QEMU, taken hold of from outside ("direct mode"): its shared RAM is
// mapped here and its dirty pages come from the kernel; QMP pauses it; its device state comes
// through QEMU's own migration channel with the RAM left out (x-ignore-shared).
//
// Invariants: everything that could rule a move out is looked for in open(), before anything is
// touched. QEMU never resumes the guest by itself: it is stopped with `stop` before its migration
// starts, so QEMU has no running state to return to, whatever happens to the channel.
#pragma once

#include <memory>

#include "engine/guest.h"
#include "vmm-adapters/qemu/options.h"

namespace godwit {

class QemuSourceGuest : public SourceGuest {
 public:
  // Errors: kRefused, saying what to change, when this guest cannot be moved this way.
  static Result<std::unique_ptr<QemuSourceGuest>> open(const QemuOptions& options);

 protected:
  QemuSourceGuest() = default;
};

}  // namespace godwit
