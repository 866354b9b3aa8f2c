// SPDX-License-Identifier: Apache-2.0
//
// A guest under unmodified QEMU that QEMU migrates by itself ("channel mode"), at the host that it
// comes to. Needs nothing but a monitor; where its memory is shared, and we may, pages are put
// there past QEMU.
#pragma once

#include <memory>

#include "engine/channel_guest.h"
#include "vmm-adapters/qemu/options.h"

namespace godwit {

// Errors: kRefused, saying what to change, when QEMU does not wait for a guest.
Result<std::unique_ptr<ChannelDestinationGuest>> open_qemu_channel_destination(
    const QemuOptions& options);

}  // namespace godwit
