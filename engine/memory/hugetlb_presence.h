// SPDX-License-Identifier: Apache-2.0
//
// Which pages of a hugetlbfs file have storage. Its SEEK_HOLE calls everything data, and mincore()
// and pagemap see only what one mapping has touched, so this asks the page cache itself:
// UFFDIO_CONTINUE on a temporary mapping maps a page that is in the cache and fails for one that is
// not, and never allocates.
#pragma once

#include "engine/base/result.h"
#include "engine/memory/guest_memory.h"

namespace godwit {

// Sets the bits of the pages that have storage. Where userfaultfd is not to be had, all of them: a
// hole taken for a page of zeroes costs memory and time, but is right.
//
// Requires: block.fd is a file on hugetlbfs; `present` is empty.
Status find_present_huge_pages(const GuestBlock& block, PageBitmap& present);

}  // namespace godwit
