// SPDX-License-Identifier: Apache-2.0
//
// Guest memory may have more pages than there is storage for: a tmpfs that fills up, a memory
// limit. A store to such a page is a SIGBUS, which would kill the agent; who asks first gets an
// error.
#pragma once

#include <cstddef>
#include <span>

#include "engine/base/result.h"

namespace godwit {

// Sees to it that the pages of `bytes` (whole pages of a mapping) can be read and written; those
// that were holes are allocated. Costs a walk of the page tables where they are there already.
// Before Linux 5.14, which has no MADV_POPULATE_READ, it does nothing.
Status ensure_storage(std::span<std::byte> bytes);

// What a kernel that found no page to fill a hole (EFAULT) should be reported as.
Error no_storage_for_page();

}  // namespace godwit
