// SPDX-License-Identifier: Apache-2.0
//
// INTERFACE: how the lanes of the source come and go, while they work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "engine/base/result.h"
#include "engine/transport.h"

namespace godwit::precopy {

struct OpenedLane {
  uint32_t number;  // unlike that of any lane before
  std::unique_ptr<Endpoint> endpoint;
};

// Thread: any, several at once.
class LaneOpener {
 public:
  virtual ~LaneOpener() = default;
  LaneOpener(const LaneOpener&) = delete;
  LaneOpener& operator=(const LaneOpener&) = delete;

  virtual Result<OpenedLane> open(size_t rail) = 0;

  // Called once the lane's endpoint is gone. On success nothing that it wrote can still arrive at
  // the destination, so that its pages may be sent by another lane. Returns why the destination
  // lost it, or nothing where it did not.
  virtual Result<std::string> close(uint32_t number) = 0;

 protected:
  LaneOpener() = default;
};

}  // namespace godwit::precopy
