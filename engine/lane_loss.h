// SPDX-License-Identifier: Apache-2.0
//
// Which errors of an endpoint are the loss of a lane: the same at both ends.
#pragma once

#include "engine/base/result.h"

namespace godwit {

// What ends a lane, but need not end the migration: its pages can go by another. A lane that was
// shut down (kCancelled) while the migration goes on does not work at its other end.
inline bool is_lane_loss(const Error& error) {
  return error.code == Errc::kPeerLost || error.code == Errc::kTimeout ||
         error.code == Errc::kSystem || error.code == Errc::kCancelled;
}

}  // namespace godwit
