// SPDX-License-Identifier: Apache-2.0
//
// A rail: one way for pages to the peer's memory, a NIC and what drives it. A migration has one or
// several; each lane belongs to one. The source's end of a rail is joined to one end at the
// destination.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "engine/transport.h"

namespace godwit {

enum class RailUse : uint8_t {
  kAlways = 1,
  kLastResort = 2,  // only while no other rail works
};

struct Rail {
  std::string name;      // "mlx5_0", "tcp": for reports and messages
  Transport* transport;  // outlives the migration
  int32_t numa_node = -1;
  RailUse use = RailUse::kAlways;
  // Of the source: whether an address is on this rail's own subnet. Null: not known.
  std::function<bool(const std::string& address)> is_neighbour;
  // Of the destination alone.
  std::string listen;          // address that lanes connect to
  std::string advertise_host;  // host part told to the source; empty = as the listener says
};

}  // namespace godwit
