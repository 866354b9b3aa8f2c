// SPDX-License-Identifier: Apache-2.0
//
// Who gets in: the same question for every transport.
#pragma once

#include "engine/transport.h"

namespace godwit {

// Compares in a time that does not depend on where two tickets differ.
bool same_ticket(const LaneTicket& left, const LaneTicket& right);

}  // namespace godwit
