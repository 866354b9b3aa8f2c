// SPDX-License-Identifier: Apache-2.0
//
// What this host knows about the link of a rail: which device it is, what it could do, and what may
// keep it from that.
#pragma once

#include <string>

#include "engine/rail.h"
#include "engine/wire/messages.h"

namespace godwit::cli {

// `peer` is the other host, "HOST:PORT": over TCP, the link that leads there.
LinkDescription describe_link(const Rail& rail, const std::string& peer);

}  // namespace godwit::cli
