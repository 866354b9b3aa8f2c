// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/pin_limit.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <utility>

#include "engine/base/units.h"

namespace godwit {
namespace {

// Of this process: the limit is the process's, too.
std::atomic<uint64_t> reserved_bytes{0};

bool may_lock_any_amount() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
  if (::syscall(SYS_capget, &header, sets.data()) != 0) return false;
  return (sets[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK)) != 0;
}

uint64_t limit_bytes() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
  return limit.rlim_cur;
}

}  // namespace

Result<PinReservation> PinReservation::make(uint64_t bytes) {
  const uint64_t total = reserved_bytes.fetch_add(bytes) + bytes;
  PinReservation reservation(bytes);
  const uint64_t limit = limit_bytes();
  if (total > limit && !may_lock_any_amount()) {
    return fail(Errc::kRefused,
                "RDMA has to pin {} MiB of memory and this process may pin {} MiB: raise the limit "
                "(`ulimit -l {}`, LimitMEMLOCK={}K of a service, or CAP_IPC_LOCK), or use "
                "--transport tcp",
                (total + kMiB - 1) / kMiB, limit / kMiB, (total + kKiB - 1) / kKiB,
                (total + kKiB - 1) / kKiB);
  }
  return reservation;
}

PinReservation::PinReservation(PinReservation&& other) noexcept
    : bytes_(std::exchange(other.bytes_, 0)) {}

PinReservation& PinReservation::operator=(PinReservation&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

PinReservation::~PinReservation() {
  reserved_bytes -= bytes_;
}

}  // namespace godwit
