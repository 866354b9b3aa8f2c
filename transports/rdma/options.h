// SPDX-License-Identifier: Apache-2.0
//
// What can be chosen about lanes over RDMA.
#pragma once

#include <string>

#include "engine/base/time.h"

namespace godwit {

struct RdmaOptions {
  std::string device;  // DEVICE[:PORT][/GID] (rail_name.h); empty: the first that works
  Clock::duration peer_timeout = seconds(10);  // a silent peer is lost after this
  // How long a lane looks for completions before it sleeps, which costs a wake-up: with much on its
  // way, when the next completion is worth no CPU; and with one or two requests, when somebody
  // waits for just these, as a vCPU does for its page: then long against a round trip.
  Clock::duration look_for = microseconds(20);
  Clock::duration look_for_lone = microseconds(400);
  // Lanes end when this host's own port has been down for this long. Short, because another rail
  // may take over; with only one, as long as the peer time-out, to live through a loose cable.
  Clock::duration port_down_max = milliseconds(20);
};

}  // namespace godwit
