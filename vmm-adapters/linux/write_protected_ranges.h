// SPDX-License-Identifier: Apache-2.0
//
// Registration of address ranges with a userfaultfd for write protection (UFFDIO_REGISTER).
#pragma once

#include "engine/base/result.h"
#include "vmm-adapters/linux/pagemap_scan.h"

namespace godwit {

// Errors: kGuest when another userfaultfd already has the range (one per mapping: a background
// snapshot or a post-copy of the VMM's own).
Status register_write_protection(int userfaultfd, AddressRange range);

Status unregister_write_protection(int userfaultfd, AddressRange range);

}  // namespace godwit
