// SPDX-License-Identifier: Apache-2.0
//
// Page requests of a QEMU that runs its guest in post-copy, taken out of its return path and
// answered in its main channel.
//
// What makes that right:
// - A page that QEMU is given twice ends its migration (UFFDIO_COPY: EEXIST). So each page is
//   noted when it passes or is put in, and left out when it comes again.
// - Pages go in between whole pages of the host: QEMU puts those together from records that follow
//   one another.
// - A section's end is held back until its footer is there, which QEMU sends some time later: in
//   between there is no place for a page.
// - With postcopy-preempt, QEMU sends by its other channel what was requested, and nothing else:
// for
//   memory that is answered here, nothing comes there.
#pragma once

#include <memory>
#include <vector>

#include "engine/page_requests.h"

namespace godwit::qemu {

std::unique_ptr<PageRequests> make_page_requests(const std::vector<BlockDescription>& blocks);

}  // namespace godwit::qemu
