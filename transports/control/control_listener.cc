// SPDX-License-Identifier: Apache-2.0
#include "transports/control/control_listener.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "transports/address/socket_address.h"
#include "transports/control/control_address.h"
#include "transports/control/socket_io.h"

namespace godwit {

using control::Handshake;
using control::HandshakeTerms;
using control::IoState;
using control::IoStep;
using control::TlsSide;

namespace {

Result<UniqueFd> bind_socket(const SocketAddress& address) {
  UniqueFd socket(
      ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return fail_errno(errno, "make a socket for {}", to_string(address));
  int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), address.get(), address.length) != 0 ||
      ::listen(socket.get(), static_cast<int>(kPendingPeersMax)) != 0) {
    return fail_errno(errno, "listen on {}", to_string(address));
  }
  return socket;
}

}  // namespace

// A peer on its way in, or, when it was turned away, on its way out: its socket then stays open
// until it has read why, because closing one that still has unread bytes would throw that away.
struct ControlListener::PendingPeer {
  Handshake handshake;
  Deadline deadline;
  short events = POLLIN;
  short happened = 0;
  bool rejected = false;
  bool finished = false;
};

Result<std::unique_ptr<ControlListener>> ControlListener::listen(const std::string& address,
                                                                 const ControlSecurity& security,
                                                                 ControlListenerOptions options) {
  ASSIGN_OR_RETURN(const std::vector<SocketAddress> addresses,
                   resolve(address, AddressUse::kListen));
  ASSIGN_OR_RETURN(HandshakeTerms terms, control::make_terms(security, TlsSide::kServer));
  ASSIGN_OR_RETURN(UniqueFd socket, bind_socket(addresses.front()));
  ASSIGN_OR_RETURN(WakeEvent stop_event, WakeEvent::make());

  std::unique_ptr<ControlListener> listener(
      new ControlListener(std::move(socket), std::move(stop_event), std::move(terms)));
  listener->options_ = std::move(options);
  listener->address_ = control::local_address(listener->socket_.get());
  return listener;
}

ControlListener::ControlListener(UniqueFd socket, WakeEvent stop_event, HandshakeTerms terms)
    : socket_(std::move(socket)), stop_event_(std::move(stop_event)), terms_(std::move(terms)) {}

ControlListener::~ControlListener() = default;

void ControlListener::shut_down() {
  stop_event_.raise();
}

Result<std::unique_ptr<ControlConnection>> ControlListener::accept(Deadline deadline) {
  for (;;) {
    RETURN_IF_ERROR(wait_for_events(deadline));
    RETURN_IF_ERROR(take_new_peers());
    for (PendingPeer& pending : pending_) {
      if (pending.happened != 0) serve(pending);
      if (accepted_ != nullptr) break;
    }
    pending_.remove_if([](const PendingPeer& pending) { return pending.finished; });
    if (accepted_ != nullptr) return std::move(accepted_);
    expire_peers();
  }
}

Status ControlListener::wait_for_events(Deadline deadline) {
  std::array<pollfd, 2 + kPendingPeersMax> entries{};
  entries[0] = {stop_event_.fd(), POLLIN, 0};
  entries[1] = {socket_.get(), POLLIN, 0};
  size_t count = 2;
  for (const PendingPeer& pending : pending_) {
    entries[count++] = {pending.handshake.fd(), pending.events, 0};
  }
  int ready = ::poll(entries.data(), count, milliseconds_until(earliest_deadline(deadline)));
  if (ready < 0 && errno != EINTR) return fail_errno(errno, "wait for a peer on {}", address_);
  if (entries[0].revents != 0) {
    return fail(Errc::kCancelled, "stopped waiting for a peer on {}", address_);
  }
  if (ready <= 0 && Clock::now() >= deadline) {
    return fail(Errc::kTimeout, "no peer came to {}", address_);
  }
  count = 2;
  for (PendingPeer& pending : pending_) {
    pending.happened = ready > 0 ? entries[count].revents : short{0};
    ++count;
  }
  return {};
}

Deadline ControlListener::earliest_deadline(Deadline deadline) const {
  for (const PendingPeer& pending : pending_) deadline = std::min(deadline, pending.deadline);
  return deadline;
}

Status ControlListener::take_new_peers() {
  for (;;) {
    SocketAddress from{};
    from.length = sizeof from.storage;
    // SAFETY: sockaddr_storage is made to be written through sockaddr, its common beginning.
    UniqueFd socket(::accept4(socket_.get(), reinterpret_cast<sockaddr*>(&from.storage),
                              &from.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.valid()) {
      admit(std::move(socket), to_string(from));
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {};
    bool short_of_descriptors = errno == EMFILE || errno == ENFILE;
    if (short_of_descriptors && !pending_.empty()) {
      pending_.pop_front();
      continue;
    }
    // Else it is the newcomer's own trouble: it has left already, or the network says something.
    if (short_of_descriptors || errno == EINVAL || errno == EBADF) {
      return fail_errno(errno, "take a connection on {}", address_);
    }
  }
}

void ControlListener::admit(UniqueFd socket, std::string peer) {
  Status options = control::set_control_socket_options(socket.get());
  if (!options) return;  // it is gone already
  if (pending_.size() == kPendingPeersMax) {
    PendingPeer& oldest = pending_.front();
    if (options_.on_rejection && !oldest.rejected) {
      options_.on_rejection(fmt::format("{} had to make room for others", oldest.handshake.peer()));
    }
    pending_.pop_front();
  }
  pending_.push_back({Handshake(std::move(socket), terms_, std::move(peer)),
                      deadline_in(options_.pending_patience)});
}

void ControlListener::serve(PendingPeer& pending) {
  if (pending.rejected) {
    std::array<std::byte, 4096> ignored{};
    IoStep step = control::receive_some(pending.handshake.fd(), ignored);
    pending.finished = step.state == IoState::kEnded;
    return;
  }
  Result<IoState> state = pending.handshake.advance();
  if (!state) {
    reject(pending, to_string(state.error()));
    return;
  }
  if (*state == IoState::kMoved) {
    accepted_ = pending.handshake.take_connection();
    pending.finished = true;
    return;
  }
  pending.events = *state == IoState::kWaitReadable ? POLLIN : POLLOUT;
}

void ControlListener::reject(PendingPeer& pending, std::string_view reason) {
  if (options_.on_rejection) options_.on_rejection(reason);
  pending.rejected = true;
  pending.events = POLLIN;
  ::shutdown(pending.handshake.fd(), SHUT_WR);
}

void ControlListener::expire_peers() {
  Deadline now = Clock::now();
  for (PendingPeer& pending : pending_) {
    if (pending.deadline > now) continue;
    pending.finished = true;
    if (options_.on_rejection && !pending.rejected) {
      options_.on_rejection(fmt::format("{} did not say who it is within {:.0f} ms",
                                        pending.handshake.peer(),
                                        to_milliseconds(options_.pending_patience)));
    }
  }
  pending_.remove_if([](const PendingPeer& pending) { return pending.finished; });
}

}  // namespace godwit
