// SPDX-License-Identifier: Apache-2.0
//
// A userfaultfd of this process, and the features that dirty tracking asks of any userfaultfd.
#pragma once

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"

namespace godwit {

// Returns a userfaultfd of this process, by whichever way the kernel permits: the system call, the
// device /dev/userfaultfd, or at last one for user-mode faults only, which is enough for
// asynchronous write protection (kernel-mode writes are recorded all the same).
//
// Errors: kSystem, saying what would permit it.
Result<UniqueFd> open_userfaultfd();

// Declares what asynchronous write tracking needs (UFFDIO_API). Once per descriptor; anybody who
// holds it may do it, it acts on the process that the descriptor was created in.
//
// Errors: kRefused when the kernel lacks a feature, naming it.
Status enable_write_tracking(int userfaultfd);

}  // namespace godwit
