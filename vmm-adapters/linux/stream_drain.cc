// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/linux/stream_drain.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>

#include "engine/base/units.h"

namespace godwit {
namespace {

// How late it may notice its end.
constexpr int kLookEveryMilliseconds = 5;

void drain(const std::stop_token& stop, int socket, Deadline deadline) {
  std::array<std::byte, 64 * kKiB> bytes;
  while (!stop.stop_requested()) {
    if (Clock::now() > deadline) ::shutdown(socket, SHUT_RDWR);
    pollfd readable{socket, POLLIN, 0};
    if (::poll(&readable, 1, kLookEveryMilliseconds) <= 0) continue;
    const ssize_t size = ::recv(socket, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) return;
  }
}

}  // namespace

StreamDrain::StreamDrain(int socket, Deadline deadline)
    : thread_([socket, deadline](const std::stop_token& stop) { drain(stop, socket, deadline); }) {}

}  // namespace godwit
