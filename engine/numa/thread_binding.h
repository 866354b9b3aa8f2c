// SPDX-License-Identifier: Apache-2.0
//
// Keeps a thread on given CPUs, so that it runs beside the memory and the device it works with.
#pragma once

#include "engine/base/result.h"
#include "engine/numa/cpu_list.h"

namespace godwit::numa {

// The calling thread runs on these CPUs only; none: it is left as it is. Threads that it starts
// later inherit this. Errors: kSystem, when it may run on none of them.
Status bind_this_thread(const CpuList& cpus);

// Returns the CPUs that the calling thread may run on. Errors: kSystem.
Result<CpuList> cpus_of_this_thread();

}  // namespace godwit::numa
