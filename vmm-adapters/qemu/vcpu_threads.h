// SPDX-License-Identifier: Apache-2.0
//
// Which of QEMU's threads are vCPUs.
#pragma once

#include <sys/types.h>

#include <vector>

#include "vmm-adapters/qemu/qmp_client.h"

namespace godwit::qemu {

// The thread of each vCPU, by the vCPU's number, as QEMU itself numbers its threads. With an
// emulator that runs all of them in one thread it is the same for all. 0 where there is none.
Result<std::vector<pid_t>> query_vcpu_threads(QmpClient& client, Deadline deadline);

// The same from the answer of query-cpus-fast.
std::vector<pid_t> vcpu_threads_in(const Json& cpus);

}  // namespace godwit::qemu
