// SPDX-License-Identifier: Apache-2.0
//
// What rules out moving a guest's memory from outside QEMU, found before anything is touched:
// writers that no page table of QEMU's shows, and states that QEMU itself cannot be migrated in.
#pragma once

#include <sys/types.h>

#include <string_view>
#include <vector>

#include "engine/guest.h"
#include "vmm-adapters/linux/process_memory_map.h"
#include "vmm-adapters/qemu/qmp_client.h"

namespace godwit::qemu {

// kRefused when a device of this QOM type writes guest memory unseen, or cannot be moved this way.
Status check_device_type(std::string_view type);

// Whether the guest has a device through which it gives memory back (a balloon, which also reports
// free pages).
Result<Discards> query_discards(QmpClient& client, Deadline deadline);

// kRefused when a device has a part in QEMU's migration stream that cannot be followed, so that
// what comes after it could not be either.
Status check_followed_devices(QmpClient& client, Deadline deadline);

// Looks through all devices and network back ends.
Status check_devices(QmpClient& client, Deadline deadline);

// kRefused when another process can write these files.
Status check_foreign_writers(pid_t qemu, const std::vector<FileIdentity>& files);

// kRefused when QEMU is migrating or says that it cannot.
Status check_migratable(QmpClient& client, Deadline deadline);

// kRefused when the run state is not the wanted one ("running", "inmigrate").
Status check_run_state(QmpClient& client, std::string_view wanted, Deadline deadline);

}  // namespace godwit::qemu
