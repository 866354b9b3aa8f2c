// SPDX-License-Identifier: Apache-2.0
//
// What the kernel tells about a link (sysfs): its line rate, and what may keep it from that.
#pragma once

#include <string>

#include "engine/wire/messages.h"

namespace godwit::qualify {

// A network interface. One that is only software (loopback, veth) has no line rate, whatever it
// says of itself. `sysfs` is "/sys".
LinkDescription describe_interface(const std::string& interface, const std::string& sysfs);

struct RdmaPort {
  std::string device;  // "mlx5_0"
  unsigned port = 1;
  std::string interface;  // that it stands on, "" if none
};
// Soft-RoCE has no line rate either.
LinkDescription describe_rdma_port(const RdmaPort& port, const std::string& sysfs);

}  // namespace godwit::qualify
