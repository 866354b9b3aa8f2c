// SPDX-License-Identifier: Apache-2.0
//
// What the kernel lets this process pin (RLIMIT_MEMLOCK), asked before anything is pinned. The
// kernel counts every registration, so memory that several rails register counts several times
// (Linux, drivers/infiniband/core/umem.c). CAP_IPC_LOCK lifts the limit.
#pragma once

#include <cstdint>

#include "engine/base/result.h"

namespace godwit {

// Room for memory that is to be pinned, until it goes.
class PinReservation {
 public:
  PinReservation() = default;
  // Errors: kRefused, with the number that is needed and how to allow it.
  static Result<PinReservation> make(uint64_t bytes);

  PinReservation(PinReservation&& other) noexcept;
  PinReservation& operator=(PinReservation&& other) noexcept;
  ~PinReservation();

 private:
  explicit PinReservation(uint64_t bytes) : bytes_(bytes) {}
  uint64_t bytes_ = 0;
};

}  // namespace godwit
