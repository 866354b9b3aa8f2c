// SPDX-License-Identifier: Apache-2.0
//
// An unmodified QEMU that was started with `-incoming defer` and waits for a guest. Its shared RAM
// is mapped here, to be written into; its devices are loaded through its own migration channel.
//
// Invariant: QEMU never starts the guest by itself: it is told to `stop` while it waits, which
// makes loading end in the paused state.
#pragma once

#include <memory>

#include "engine/guest.h"
#include "vmm-adapters/qemu/options.h"

namespace godwit {

class QemuDestinationGuest : public DestinationGuest {
 public:
  // Also maps the memory's present pages into this process, so that the transfer does not fault.
  // Errors: kRefused, saying what to change.
  static Result<std::unique_ptr<QemuDestinationGuest>> open(const QemuOptions& options);

 protected:
  QemuDestinationGuest() = default;
};

}  // namespace godwit
