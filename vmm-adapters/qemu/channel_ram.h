// SPDX-License-Identifier: Apache-2.0
//
// Guest RAM at one end of a migration that QEMU itself runs, so that pages can be placed past its
// stream.
#pragma once

#include <string>

#include "vmm-adapters/qemu/guest_ram.h"
#include "vmm-adapters/qemu/migration_settings.h"

namespace godwit::qemu {

// Asks the QEMU behind `qmp_path`, and lets it go again: somebody else drives it.
// Errors: kRefused when pages cannot be placed past its migration, saying why.
Result<GuestRam> open_channel_ram(const std::string& qmp_path, Side side, Deadline deadline);

// kRefused unless that QEMU is who has the other end of a migration's unix socket.
Status check_channel_of(const GuestRam& ram, int socket);

}  // namespace godwit::qemu
