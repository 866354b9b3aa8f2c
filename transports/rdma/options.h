// SPDX-License-Identifier: Apache-2.0
//
// What can be chosen about lanes over RDMA.
#pragma once

#include <string>

#include "engine/base/time.h"

namespace godwit {

struct RdmaOptions {
  std::string device;  // as `ibv_devices` names it; empty: the first that works
  Clock::duration peer_timeout = seconds(10);  // a silent peer is lost after this
};

}  // namespace godwit
