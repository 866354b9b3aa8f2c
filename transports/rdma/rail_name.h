// SPDX-License-Identifier: Apache-2.0
//
// The name of a rail, as users write it: DEVICE[:PORT][/GID], e.g. "mlx5_0", "mlx5_0:2", "rxe0/1",
// "mlx5_0:1/3". A rail is one port of one device with one address; lanes are pinned to it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/result.h"

namespace godwit {

struct RailName {
  std::string device;                 // as `ibv_devices` names it; empty: the first that works
  std::optional<uint8_t> port;        // none: the first active one
  std::optional<uint32_t> gid_index;  // none: the first RoCE v2 one of an IPv4 address
};

// An empty text is a name that leaves everything open. Errors: kRefused, with what is expected.
Result<RailName> parse_rail_name(std::string_view text);

}  // namespace godwit
