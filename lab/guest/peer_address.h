// SPDX-License-Identifier: Apache-2.0
//
// Where the agents of a pair listen for each other: on the management link, which no test ever
// cuts.
#pragma once

#include <cstdint>

namespace godwit::lab {

inline constexpr uint16_t kPeerPort = 1;

}  // namespace godwit::lab
