// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/rdma_region.h"

#include <cerrno>

namespace godwit {
namespace {

// A remote write needs local write access as well (ibv_reg_mr(3)); so does a read's local end.
//
// Relaxed ordering lets the writes of the device pass each other on their way to memory. That is
// harmless where a completion on this host comes before anybody looks: the completion is itself
// written in order, and does not pass the writes before it (PCI Express, 2.4.1: only a write that
// is itself relaxed passes others). So it is for memory that only our own operations use. What the
// peer writes is looked at after its flush, a read, for which no specification of a host promises
// that relaxed writes have landed. The flag is optional: a device that has no such thing ignores
// it.
int access_flags(RemoteAccess access) {
  int flags = IBV_ACCESS_LOCAL_WRITE;
  if (access == RemoteAccess::kNone) flags |= IBV_ACCESS_RELAXED_ORDERING;
  if (access == RemoteAccess::kRead || access == RemoteAccess::kReadWrite)
    flags |= IBV_ACCESS_REMOTE_READ;
  if (access == RemoteAccess::kWrite || access == RemoteAccess::kReadWrite)
    flags |= IBV_ACCESS_REMOTE_WRITE;
  return flags;
}

}  // namespace

Result<VerbsHandle<ibv_mr>> register_with(const RdmaDevice& device, std::span<std::byte> bytes,
                                          RemoteAccess access) {
  if (bytes.size() > device.region_bytes_max()) {
    return fail(Errc::kRefused, "{} bytes of memory are more than RDMA device {} registers, {}",
                bytes.size(), device.name(), device.region_bytes_max());
  }
  VerbsHandle<ibv_mr> region(
      ibv_reg_mr(device.domain(), bytes.data(), bytes.size(), access_flags(access)));
  if (region == nullptr)
    return fail_errno(errno, "register {} bytes with RDMA device {}", bytes.size(), device.name());
  return region;
}

RemoteRegion RdmaRegion::describe() const {
  // SAFETY: only as a number, which is how verbs names remote memory.
  return {
      .base = reinterpret_cast<uint64_t>(bytes_.data()), .size_bytes = bytes_.size(), .key = key_};
}

}  // namespace godwit
