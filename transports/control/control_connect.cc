// SPDX-License-Identifier: Apache-2.0
#include "transports/control/control_connect.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "transports/address/socket_address.h"
#include "transports/control/handshake.h"
#include "transports/control/socket_io.h"

namespace godwit {

using control::Handshake;
using control::HandshakeTerms;
using control::IoState;
using control::TlsSide;

namespace {

struct Patience {
  Deadline deadline;
  int interrupt_fd;
};

// What connect(2) said, in words that help.
Error explain_connect_failure(int os_errno, const std::string& address) {
  switch (os_errno) {
    case ECONNREFUSED:
      return fail(Errc::kPeerLost, "nobody listens on {}: start `godwit receive` there first",
                  address)
          .value();
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
      return fail(Errc::kPeerLost, "{} cannot be reached: is the host up, and the way there open?",
                  address)
          .value();
    default:
      break;
  }
  return fail_errno(os_errno, "connect to {}", address).value();
}

Result<UniqueFd> connect_socket(const SocketAddress& target, const Patience& patience) {
  UniqueFd socket(
      ::socket(target.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return fail_errno(errno, "make a socket for {}", to_string(target));
  RETURN_IF_ERROR(control::set_control_socket_options(socket.get()));
  if (::connect(socket.get(), target.get(), target.length) == 0) return socket;
  if (errno != EINPROGRESS) {
    return tl::unexpected<Error>(explain_connect_failure(errno, to_string(target)));
  }

  Status waited =
      control::wait_for(socket.get(), POLLOUT, patience.interrupt_fd, patience.deadline);
  if (!waited && waited.error().code == Errc::kTimeout) {
    return fail(Errc::kTimeout, "{} does not answer: is the host up, and the way there open?",
                to_string(target));
  }
  if (!waited) return tl::unexpected<Error>(waited.error());
  int outcome = 0;
  socklen_t size = sizeof outcome;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &outcome, &size) != 0) outcome = errno;
  if (outcome != 0) {
    return tl::unexpected<Error>(explain_connect_failure(outcome, to_string(target)));
  }
  return socket;
}

// A name can stand for several addresses; the first that takes a connection is it.
Result<UniqueFd> connect_any(const HostPort& address, const Patience& patience) {
  ASSIGN_OR_RETURN(std::vector<SocketAddress> targets, resolve(address, AddressUse::kConnect));
  Result<UniqueFd> socket = connect_socket(targets.front(), patience);
  for (size_t i = 1; i < targets.size() && !socket; ++i) {
    if (socket.error().code == Errc::kCancelled) break;
    Result<UniqueFd> next = connect_socket(targets[i], patience);
    if (next) socket = std::move(next);
  }
  return socket;
}

}  // namespace

Result<std::unique_ptr<ControlChannel>> connect_control(const std::string& address,
                                                        const ControlSecurity& security,
                                                        Deadline deadline, int interrupt_fd) {
  ASSIGN_OR_RETURN(HostPort host_port, parse_host_port(address));
  ASSIGN_OR_RETURN(HandshakeTerms terms, control::make_terms(security, TlsSide::kClient));
  if (terms.expected_hostname.empty()) terms.expected_hostname = host_port.host;

  ASSIGN_OR_RETURN(UniqueFd socket, connect_any(host_port, {deadline, interrupt_fd}));
  Handshake handshake(std::move(socket), terms, address);
  for (;;) {
    ASSIGN_OR_RETURN(IoState state, handshake.advance());
    if (state == IoState::kMoved) return handshake.take_connection();
    short events = state == IoState::kWaitReadable ? POLLIN : POLLOUT;
    Status waited = control::wait_for(handshake.fd(), events, interrupt_fd, deadline);
    if (!waited && waited.error().code == Errc::kTimeout) {
      return fail(Errc::kTimeout, "{} accepted the connection but did not answer: is that Godwit?",
                  address);
    }
    if (!waited) return tl::unexpected<Error>(waited.error());
  }
}

}  // namespace godwit
