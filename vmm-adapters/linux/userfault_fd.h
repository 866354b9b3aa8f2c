// SPDX-License-Identifier: Apache-2.0
//
// A userfaultfd of this process, and the features that dirty tracking and post-copy ask of any
// userfaultfd.
#pragma once

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"

namespace godwit {

// Returns a userfaultfd of this process, by whichever way the kernel permits: the system call, the
// device /dev/userfaultfd, or at last one for user-mode faults only. That is enough for
// asynchronous write protection (kernel-mode writes are recorded all the same), and for page faults
// of a process that lets no system call touch the memory: the kernel's own touches get EFAULT
// instead of waiting.
//
// Errors: kSystem, saying what would permit it.
Result<UniqueFd> open_userfaultfd();

// Declares what asynchronous write tracking needs (UFFDIO_API). Once per descriptor; anybody who
// holds it may do it, it acts on the process that the descriptor was created in.
//
// Errors: kRefused when the kernel lacks a feature, naming it.
Status enable_write_tracking(int userfaultfd);

// The same for page faults on shared memory: on pages that exist and on those that do not.
Status enable_page_faults(int userfaultfd);

}  // namespace godwit
