// SPDX-License-Identifier: Apache-2.0
//
// How much CPU time has been used on this host, by us and by everybody: what a transfer costs, and
// whether somebody else is busy meanwhile.
#pragma once

#include "engine/wire/messages.h"

namespace godwit::qualify {

// Of everybody: what /proc/stat tells (10 ms steps), without interrupts, which may be the
// transfer's own; 0 where it cannot be read.
CpuTime read_cpu_time();

}  // namespace godwit::qualify
