// SPDX-License-Identifier: Apache-2.0
#include "transports/control/socket_io.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace godwit::control {
namespace {

// Together they find a silent peer after 9 seconds: the promise is "within 10".
constexpr int kKeepAliveIdleSeconds = 3;
constexpr int kKeepAliveIntervalSeconds = 1;
constexpr int kKeepAliveProbes = 6;
constexpr int kUserTimeoutMs = 9000;

IoStep sort(ssize_t outcome, IoState wait) {
  if (outcome > 0) return {IoState::kMoved, static_cast<size_t>(outcome)};
  if (outcome < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return {wait, 0};
  // Closed, reset, timed out: all the same to the caller.
  return {IoState::kEnded, 0};
}

}  // namespace

IoStep receive_some(int fd, std::span<std::byte> bytes) {
  ssize_t outcome = 0;
  do {
    outcome = ::recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
  } while (outcome < 0 && errno == EINTR);
  return sort(outcome, IoState::kWaitReadable);
}

IoStep send_some(int fd, std::span<const std::byte> bytes) {
  ssize_t outcome = 0;
  do {
    outcome = ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (outcome < 0 && errno == EINTR);
  return sort(outcome, IoState::kWaitWritable);
}

Status set_control_socket_options(int fd) {
  struct Option {
    int level;
    int name;
    int value;
  };
  constexpr std::array kOptions = {
      Option{IPPROTO_TCP, TCP_NODELAY, 1},
      Option{SOL_SOCKET, SO_KEEPALIVE, 1},
      Option{IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleSeconds},
      Option{IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalSeconds},
      Option{IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes},
      Option{IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs},
  };
  for (const Option& option : kOptions) {
    if (::setsockopt(fd, option.level, option.name, &option.value, sizeof option.value) != 0) {
      return fail_errno(errno, "set option {} of the control connection", option.name);
    }
  }
  return {};
}

Status wait_for(int fd, short events, int interrupt_fd, Deadline deadline) {
  std::array<pollfd, 2> entries{pollfd{fd, events, 0}, pollfd{interrupt_fd, POLLIN, 0}};
  for (;;) {
    int ready = ::poll(entries.data(), entries.size(), milliseconds_until(deadline));
    if (ready < 0 && errno != EINTR) return fail_errno(errno, "wait for the control connection");
    if (ready > 0 && entries[1].revents != 0) {
      return fail(Errc::kCancelled, "cancelled while waiting for the peer");
    }
    if (ready > 0) return {};
    if (Clock::now() >= deadline) return fail(Errc::kTimeout, "the peer did not answer in time");
  }
}

}  // namespace godwit::control
