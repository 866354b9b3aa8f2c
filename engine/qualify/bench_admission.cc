// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/bench_admission.h"

namespace godwit::qualify {

BenchAdmission::Place::Place(Place&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)), is_part_(other.is_part_) {}

BenchAdmission::Place& BenchAdmission::Place::operator=(Place&& other) noexcept {
  std::swap(owner_, other.owner_);
  std::swap(is_part_, other.is_part_);
  return *this;
}

BenchAdmission::Place::~Place() {
  if (owner_ != nullptr) owner_->leave(*this);
}

Result<BenchAdmission::Place> BenchAdmission::admit(const Hello& hello) {
  std::lock_guard lock(mutex_);
  if (!busy_) {
    busy_ = true;
    holder_ = hello;
    return Place(this, false);
  }
  const bool is_part = holder_.purpose == Purpose::kMatrix && hello.purpose == Purpose::kBench &&
                       holder_.session == hello.session;
  if (!is_part) return fail(Errc::kRefused, "another bench is running there");
  if (parts_ >= kPartsOfMatrixMax)
    return fail(Errc::kRefused, "{} benches of this matrix are running there", parts_);
  ++parts_;
  return Place(this, true);
}

void BenchAdmission::leave(const Place& place) {
  std::lock_guard lock(mutex_);
  if (place.is_part_) {
    --parts_;
  } else {
    busy_ = false;
  }
}

}  // namespace godwit::qualify
