// SPDX-License-Identifier: Apache-2.0
//
// An eventfd that one thread raises and another one waits for, beside whatever else it polls.
#pragma once

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"

namespace godwit {

class WakeEvent {
 public:
  static Result<WakeEvent> make();

  // Thread: any. fd() is readable from then on: nobody ever resets it.
  void raise() const;
  int fd() const { return fd_.get(); }

 private:
  explicit WakeEvent(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

}  // namespace godwit
