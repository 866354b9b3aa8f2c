// SPDX-License-Identifier: Apache-2.0
//
// Which of our threads goes first where there are fewer CPUs than work.
#pragma once

namespace godwit {

// The calling thread serves somebody who stands still meanwhile: it goes before those that move
// bulk. Without the right to (CAP_SYS_NICE) nothing changes.
void put_thread_first();

}  // namespace godwit
