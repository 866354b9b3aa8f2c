// SPDX-License-Identifier: Apache-2.0
//
// Whose measurement runs at the moment on a host that serves: one bench, or one matrix together
// with the benches that are part of it. Two that know nothing of each other would measure each
// other.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <utility>

#include "engine/base/result.h"
#include "engine/wire/messages.h"

namespace godwit::qualify {

// A matrix asks for two at a time at most; those before may still be ending.
inline constexpr size_t kPartsOfMatrixMax = 8;

// Thread: any.
class BenchAdmission {
 public:
  // Held while it runs. Outlived by the admission.
  class Place {
   public:
    Place() = default;
    Place(Place&& other) noexcept;
    Place& operator=(Place&& other) noexcept;
    ~Place();

    // Whether another one, of which this is a part, holds the host.
    bool is_part() const { return is_part_; }

   private:
    friend class BenchAdmission;
    Place(BenchAdmission* owner, bool is_part) : owner_(owner), is_part_(is_part) {}

    BenchAdmission* owner_ = nullptr;
    bool is_part_ = false;
  };

  // Errors: kRefused while something else runs.
  Result<Place> admit(const Hello& hello);

 private:
  void leave(const Place& place);

  std::mutex mutex_;
  bool busy_ = false;
  Hello holder_;  // while busy
  size_t parts_ = 0;
};

}  // namespace godwit::qualify
