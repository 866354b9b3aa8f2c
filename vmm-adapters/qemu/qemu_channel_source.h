// SPDX-License-Identifier: Apache-2.0
//
// A guest under unmodified QEMU that QEMU migrates by itself ("channel mode"), at the host that it
// leaves. Needs nothing but a monitor; where its memory is shared, and we may, pages are sent from
// there.
#pragma once

#include <memory>

#include "engine/channel_guest.h"
#include "vmm-adapters/qemu/migration_settings.h"
#include "vmm-adapters/qemu/options.h"

namespace godwit {

// Errors: kRefused, saying what to change, when QEMU cannot migrate this guest.
Result<std::unique_ptr<ChannelSourceGuest>> open_qemu_channel_source(
    const QemuOptions& options, const qemu::MigrationSettings::Limits& limits);

}  // namespace godwit
