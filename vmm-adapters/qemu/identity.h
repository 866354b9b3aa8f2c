// SPDX-License-Identifier: Apache-2.0
//
// What the two QEMUs have to agree on, and whether they do.
#pragma once

#include "engine/guest.h"
#include "vmm-adapters/qemu/qmp_client.h"

namespace godwit::qemu {

struct Version {
  int64_t major;
  int64_t minor;
  int64_t micro;

  friend auto operator<=>(const Version&, const Version&) = default;
};

Result<Version> query_version(QmpClient& client, Deadline deadline);

// Keys: vmm, version, machine, cpu, cpus, accelerator, and for each non-zero word of CPU features
// "cpuid.<leaf>.<subleaf>.<register>" its value in hexadecimal.
Result<GuestIdentity> query_identity(QmpClient& client, Deadline deadline);

// kRefused naming the first difference that matters when a guest of `source` cannot run in
// `destination`. QEMU may be newer at the destination, not older; the CPU there may have more
// features, not fewer.
Status check_identities(const GuestIdentity& source, const GuestIdentity& destination);

}  // namespace godwit::qemu
