// SPDX-License-Identifier: Apache-2.0
//
// A connection to a VMM: one end for the relay, one for the test.
#pragma once

#include <sys/socket.h>

#include <array>

#include "engine/base/check.h"
#include "engine/base/unique_fd.h"

namespace godwit::relay {

struct SocketPair {
  UniqueFd ours;
  UniqueFd theirs;
};

inline SocketPair make_socket_pair() {
  std::array<int, 2> fds{};
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) == 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

}  // namespace godwit::relay
