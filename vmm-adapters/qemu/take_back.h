// SPDX-License-Identifier: Apache-2.0
//
// A guest that QEMU has given away by post-copy and that never ran there: how its source has it
// again.
//
// QEMU has no command for that. From 10.0 on it refuses to cancel, before that it hangs when it is
// to cancel what is paused, and `cont` it always refuses. But it lets a broken post-copy recover,
// and believes the destination what that has, and that it failed in the end. So we are a
// destination that has every page, for which there is nothing left to be sent, and that fails then:
// QEMU calls its migration failed, and the guest, of which nothing was changed, may go on. It takes
// 10 ms, whatever size the guest has. Tried with QEMU 7.2 and 10.0.
#pragma once

#include <string_view>

#include "vmm-adapters/qemu/qmp_client.h"

namespace godwit::qemu {

// Whether a migration with this status is one that QEMU does not cancel.
bool is_post_copy(std::string_view status);

// On return the migration is settled, and the guest stands still or, where somebody had it running
// until QEMU stopped it, runs.
//
// Requires: nobody else runs the guest, ever; the other end of the migration's stream is shut.
Status take_back(QmpClient& client, Deadline deadline);

// The guest runs afterwards. Tries until the deadline, at least once: in post-copy a QEMU before
// 10.0 that has loaded the guest has locked its disks, and lets go of them when it ends, of which
// it is told at about this time.
Status go_on(QmpClient& client, Deadline deadline);

}  // namespace godwit::qemu
